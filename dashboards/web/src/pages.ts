import { type ComponentType, lazy } from "react";

/** A page: each is a folder in `pages/`, loaded when it is opened first. */
export interface Page {
  /** Its address, with `:name` for what changes. */
  path: string;
  /** Its name in the navigation; a page without one is reached from others. */
  name?: string;
  /** Opens it after `g`. */
  key?: string;
  page: ComponentType;
}

/** All pages, in the order of the navigation. The first one named opens at `/`, unless one has that address. */
export const pages: Page[] = [
  { path: "/", name: "Overview", key: "o", page: lazy(() => import("./pages/Overview/Overview")) },
  { path: "/sessions", name: "Sessions", key: "s", page: lazy(() => import("./pages/Sessions/Sessions")) },
  { path: "/sessions/:id", page: lazy(() => import("./pages/Session/Session")) },
  { path: "/requests", name: "Requests", key: "r", page: lazy(() => import("./pages/Requests/Requests")) },
  { path: "/requests/:id", page: lazy(() => import("./pages/Request/Request")) },
  { path: "/reports", name: "Reports", key: "e", page: lazy(() => import("./pages/Reports/Reports")) },
  { path: "/reports/:id", page: lazy(() => import("./pages/Report/Report")) },
  { path: "/search", name: "Search", key: "f", page: lazy(() => import("./pages/Search/Search")) },
  { path: "/sql", name: "SQL", key: "q", page: lazy(() => import("./pages/Sql/Sql")) },
  { path: "/pipeline", name: "Pipeline", key: "p", page: lazy(() => import("./pages/Pipeline/Pipeline")) },
  { path: "/live", name: "Live", key: "l", page: lazy(() => import("./pages/Live/Live")) },
];
