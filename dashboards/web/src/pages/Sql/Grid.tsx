import { useVirtualizer } from "@tanstack/react-virtual";
import { useMemo, useRef, useState } from "react";
import { HostileText } from "../../ui/HostileText";
import { cellText, columnsOf } from "./grid";
import classes from "./Sql.module.css";

const ROW_PX = 26;

type Row = Record<string, unknown>;

/** The rows of an answer, however many: only those in sight are there. A cell that is chosen is shown whole below. */
export function Grid({ rows }: { rows: Row[] }) {
  const columns = useMemo(() => columnsOf(rows), [rows]);
  const scroll = useRef<HTMLElement>(null);
  const [chosen, setChosen] = useState<{ row: number; name: string }>();
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  });
  const items = virtual.getVirtualItems();
  const before = items[0]?.start ?? 0;
  const after = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  const value = chosen === undefined ? undefined : rows[chosen.row]?.[chosen.name];
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard */}
      <section className={classes.grid} ref={scroll} aria-label="Answer" tabIndex={0}>
        <table
          aria-rowcount={rows.length + 1}
          style={{ width: columns.reduce((sum, { width_px }) => sum + width_px, 56) }}
        >
          <thead>
            <tr>
              <th scope="col" style={{ width: 56 }} data-numeric>
                <span className="soft">row</span>
              </th>
              {columns.map(({ name, numeric, width_px }) => (
                <th key={name} scope="col" style={{ width: width_px }} data-numeric={numeric || undefined} title={name}>
                  <HostileText>{name}</HostileText>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {before > 0 && <tr style={{ height: before }} aria-hidden />}
            {items.map(({ index }) => (
              <tr key={index} aria-rowindex={index + 2} style={{ height: ROW_PX }}>
                <td data-numeric className="soft">
                  {index + 1}
                </td>
                {columns.map(({ name, numeric }) => {
                  const text = cellText(rows[index]?.[name]);
                  const isChosen = chosen?.row === index && chosen.name === name;
                  return (
                    // biome-ignore lint/a11y/useKeyWithClickEvents: the file has whole cells for those without a mouse
                    <td
                      key={name}
                      data-numeric={numeric || undefined}
                      data-chosen={isChosen || undefined}
                      onClick={() => setChosen(isChosen ? undefined : { row: index, name })}
                    >
                      {text === null ? (
                        <span className="soft">null</span>
                      ) : (
                        <HostileText none="">{text.slice(0, 300)}</HostileText>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
            {after > 0 && <tr style={{ height: after }} aria-hidden />}
          </tbody>
        </table>
      </section>
      {chosen !== undefined && (
        <section className={`card ${classes.whole}`} aria-label="The chosen cell">
          <div className="soft">
            <HostileText>{chosen.name}</HostileText> of row {chosen.row + 1}
          </div>
          <pre>
            <HostileText lines>{cellText(value)}</HostileText>
          </pre>
        </section>
      )}
    </>
  );
}
