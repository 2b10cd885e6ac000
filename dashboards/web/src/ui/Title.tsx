import { type ReactNode, useEffect } from "react";

/** The heading of a page, and its title in the browser. */
export function Title({ children, name }: { children: ReactNode; name?: string }) {
  const title = name ?? (typeof children === "string" ? children : undefined);
  useEffect(() => {
    document.title = title === undefined ? "Custody" : `${title} · Custody`;
  }, [title]);
  return <h1>{children}</h1>;
}
