import { Button, Menu } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import { type ReactNode, useRef, useState } from "react";
import { useLocation } from "wouter";
import { useKeys } from "../keys/keys";
import { download, toCsv } from "./csv";
import classes from "./Table.module.css";

export interface Column<T> {
  id: string;
  title: string;
  /** What the cell shows. */
  cell: (row: T) => ReactNode;
  /** What the cell is in CSV. */
  text: (row: T) => string | number | boolean | null | undefined;
  /** Numbers and times stand under each other. */
  numeric?: boolean;
  /** Not shown until somebody chooses it. */
  hidden?: boolean;
  /** As narrow as its content. */
  narrow?: boolean;
  /** A name: as narrow as its content, unless that is long. */
  fit?: boolean;
}

interface Props<T> {
  /** Names the choice of columns, which is kept, and the file of CSV. */
  name: string;
  columns: Column<T>[];
  rows: T[];
  keyOf: (row: T) => string;
  /** Where a row leads, by a click or the enter key. */
  hrefOf?: (row: T) => string;
  /** A row that somebody should look at. */
  isAlarming?: (row: T) => boolean;
  /** Stands at the left above the table. */
  children?: ReactNode;
  /** Goes to the rows after these; there are none without it. */
  older?: (() => void) | undefined;
  /** Goes back to the first rows; these are the first without it. */
  newest?: (() => void) | undefined;
}

/** Rows of a page: columns can be chosen, what is shown saved as CSV, and j, k and enter walk through them. */
export function Table<T>(props: Props<T>) {
  const { name, columns, rows, keyOf, hrefOf, isAlarming, children, older, newest } = props;
  const [hidden, setHidden] = useLocalStorage<string[]>({
    key: `custody.columns.${name}`,
    defaultValue: columns.filter((column) => column.hidden).map((column) => column.id),
    getInitialValueInEffect: false,
  });
  const shown = columns.filter((column) => !hidden.includes(column.id));
  const [, navigate] = useLocation();
  const [at, setAt] = useState<string>();
  const body = useRef<HTMLTableSectionElement>(null);

  const move = (by: number) => {
    const place = rows.findIndex((row) => keyOf(row) === at);
    const next = place < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(place + by, 0), rows.length - 1);
    const row = rows[next];
    if (row === undefined) return;
    setAt(keyOf(row));
    body.current?.rows[next]?.scrollIntoView({ block: "nearest" });
  };
  const open = () => {
    const row = rows.find((row) => keyOf(row) === at);
    if (row !== undefined && hrefOf !== undefined) navigate(hrefOf(row));
  };
  useKeys("Table", [
    { keys: "j", does: "Next row", run: () => move(1) },
    { keys: "k", does: "Row before", run: () => move(-1) },
    ...(hrefOf === undefined ? [] : [{ keys: "Enter", does: "Open the row", run: open }]),
  ]);

  const save = () => download(`${name}.csv`, "text/csv", toCsv(shown, rows));

  return (
    <>
      <div className={classes.bar}>
        <div className={classes.about}>{children}</div>
        <Menu closeOnItemClick={false} position="bottom-end">
          <Menu.Target>
            <Button size="compact-sm" variant="default">
              Columns
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            {columns.map(({ id, title }) => (
              <Menu.CheckboxItem
                key={id}
                checked={!hidden.includes(id)}
                onChange={(isShown) => setHidden(isShown ? hidden.filter((other) => other !== id) : [...hidden, id])}
              >
                {title}
              </Menu.CheckboxItem>
            ))}
          </Menu.Dropdown>
        </Menu>
        <Button size="compact-sm" variant="default" onClick={save} disabled={rows.length === 0}>
          CSV of these {rows.length}
        </Button>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard */}
      <section className={classes.scroll} aria-label={name} tabIndex={0}>
        <table className={classes.table}>
          <thead>
            <tr>
              {shown.map(({ id, title, numeric, narrow }) => (
                <th key={id} scope="col" data-numeric={numeric || undefined} data-narrow={narrow || undefined}>
                  {title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody ref={body}>
            {rows.map((row) => {
              const key = keyOf(row);
              const go = hrefOf === undefined ? undefined : () => navigate(hrefOf(row));
              return (
                // The first cell has a link for keyboards and screen readers; a click anywhere in the row is a comfort.
                <tr
                  key={key}
                  aria-current={key === at || undefined}
                  data-alarming={isAlarming?.(row) || undefined}
                  data-link={go !== undefined || undefined}
                  onClick={(event) => {
                    const isOther = event.target instanceof Element && event.target.closest("a, button, input");
                    if (!isOther && getSelection()?.isCollapsed !== false) go?.();
                  }}
                >
                  {shown.map(({ id, cell, numeric, narrow, fit }) => (
                    <td
                      key={id}
                      data-numeric={numeric || undefined}
                      data-narrow={narrow || undefined}
                      data-fit={fit || undefined}
                    >
                      {cell(row)}
                    </td>
                  ))}
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
      {(older !== undefined || newest !== undefined) && (
        <nav className={classes.pages} aria-label="Pages">
          <Button size="compact-sm" variant="default" onClick={newest} disabled={newest === undefined}>
            First page
          </Button>
          <Button size="compact-sm" variant="default" onClick={older} disabled={older === undefined}>
            Next page
          </Button>
        </nav>
      )}
    </>
  );
}
