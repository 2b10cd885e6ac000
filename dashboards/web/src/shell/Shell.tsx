import { Burger, SegmentedControl, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { type ReactNode, useEffect } from "react";
import { Link, useLocation } from "wouter";
import { useKeys } from "../keys/keys";
import { pages } from "../pages";
import type { Zone } from "../time/format";
import { useZone } from "../time/zone";
import classes from "./Shell.module.css";

const named = pages.flatMap(({ path, name, key }) => (name === undefined ? [] : [{ path, name, key }]));

/** What stands around every page: the navigation, the theme, and the zone of all instants. */
export function Shell({ children }: { children: ReactNode }) {
  const [path, navigate] = useLocation();
  const [isOpen, { toggle, close }] = useDisclosure(false);
  const { zone, setZone } = useZone();
  const { colorScheme, setColorScheme } = useMantineColorScheme({ keepTransitions: true });
  useKeys(
    "Go to",
    named.flatMap(({ path, name, key }) =>
      key === undefined ? [] : [{ keys: `g ${key}`, does: name, run: () => navigate(path) }],
    ),
  );
  useKeys("Everywhere", [
    { keys: "z", does: "UTC or local time", run: () => setZone(zone === "utc" ? "local" : "utc") },
  ]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another page is what it is closed for
  useEffect(close, [path]);
  const isCurrent = (page: string) => path === page || (page !== "/" && path.startsWith(`${page}/`));

  return (
    <div className={classes.shell}>
      <a className={classes.skip} href="#main">
        Skip to the page
      </a>
      <header className={classes.side} data-open={isOpen || undefined}>
        <div className={classes.head}>
          <Link href="/" className={classes.name ?? ""}>
            Custody
          </Link>
          <Burger className={classes.burger ?? ""} opened={isOpen} onClick={toggle} size="sm" aria-label="Navigation" />
        </div>
        <nav aria-label="Pages" className={classes.pages}>
          {named.map(({ path, name }) => (
            <Link key={path} href={path} aria-current={isCurrent(path) ? "page" : undefined}>
              {name}
            </Link>
          ))}
        </nav>
        <div className={classes.settings}>
          <SegmentedControl
            aria-label="Time zone"
            size="xs"
            fullWidth
            value={zone}
            onChange={(value) => setZone(value as Zone)}
            data={[
              { value: "utc", label: "UTC" },
              { value: "local", label: "Local time" },
            ]}
          />
          <SegmentedControl
            aria-label="Theme"
            size="xs"
            fullWidth
            value={colorScheme}
            onChange={(value) => setColorScheme(value as typeof colorScheme)}
            data={[
              { value: "light", label: "Light" },
              { value: "dark", label: "Dark" },
              { value: "auto", label: "System" },
            ]}
          />
          <p className={classes.hint}>
            <kbd>?</kbd> shows keys
          </p>
        </div>
      </header>
      <main id="main" className={classes.main} tabIndex={-1}>
        {children}
      </main>
    </div>
  );
}
