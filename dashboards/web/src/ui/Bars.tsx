import { useComputedColorScheme } from "@mantine/core";
import { useElementSize, useMergedRef } from "@mantine/hooks";
import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import classes from "./Bars.module.css";
import { HostileText } from "./HostileText";
import { stacked } from "./stacked";

const paths = uPlot.paths.bars?.({ size: [0.72, 36] });
const drawn = paths === undefined ? {} : { paths };
const DAY_S = 86_400;
const COLORS = 6;

interface Props {
  /** What is counted. */
  name: string;
  /** The days, as seconds since 1970, without holes. */
  days_s: number[];
  series: { name: string; values: number[] }[];
  height: number;
}

/** Bars of days (UTC), one series on the other. */
export function Bars({ name, days_s, series, height }: Props) {
  const { ref: sized, width } = useElementSize<HTMLDivElement>();
  const canvas = useRef<HTMLDivElement>(null);
  const ref = useMergedRef(sized, canvas);
  const legend = useRef<HTMLUListElement>(null);
  const scheme = useComputedColorScheme("light");
  const [at, setAt] = useState<number | null>(null);
  const tops = useMemo(() => stacked(series.map(({ values }) => values)), [series]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the scheme changes the colours that are read
  useEffect(() => {
    const list = legend.current;
    const into = canvas.current;
    if (into === null || list === null || width === 0) return;
    // A canvas knows no variables: what they come to is read where they are used.
    const colors = [...list.querySelectorAll<HTMLElement>("[data-swatch]")].map(
      (swatch) => getComputedStyle(swatch).backgroundColor,
    );
    const soft = getComputedStyle(list).color;
    const axis = { stroke: soft, grid: { stroke: soft, width: 0.15 }, ticks: { show: false }, font: "12px sans-serif" };
    const [first = 0, last = 0] = [days_s[0], days_s.at(-1)];
    const plot = new uPlot(
      {
        width,
        height,
        tzDate: (at_s) => uPlot.tzDate(new Date(at_s * 1000), "Etc/UTC"),
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        scales: { x: { range: [first - DAY_S / 2, last + DAY_S / 2] }, y: { range: (_, _min, max) => [0, max || 1] } },
        axes: [
          { ...axis, grid: { show: false }, size: 22, values: "{YYYY}-{MM}-{DD}", space: 90 },
          {
            ...axis,
            size: 34,
            incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6],
            space: 26,
          },
        ],
        series: [
          {},
          // The highest is drawn first, the lower ones over it.
          ...colors.map((fill) => ({ fill, width: 0, points: { show: false }, ...drawn })).reverse(),
        ],
        hooks: { setCursor: [({ cursor: { idx } }) => setAt(idx ?? null)] },
      },
      [days_s, ...tops.toReversed()],
      into,
    );
    return () => plot.destroy();
  }, [days_s, tops, width, height, scheme]);

  const shown = (values: number[]) => (at === null ? values.reduce((sum, value) => sum + value, 0) : (values[at] ?? 0));
  const when = at === null ? undefined : days_s[at];
  return (
    <figure className={classes.chart} style={{ margin: 0 }} aria-label={name}>
      <ul className={classes.legend} ref={legend}>
        {series.map(({ name, values }, place) => (
          <li key={name}>
            <span
              className={classes.swatch}
              data-swatch
              style={{ background: `var(--series-${Math.min(place, COLORS - 1)})` }}
            />
            <HostileText>{name}</HostileText> <span className="number">{shown(values)}</span>
          </li>
        ))}
        <li className={classes.when}>
          {when === undefined ? "in all" : `on ${new Date(when * 1000).toISOString().slice(0, 10)} UTC`}
        </li>
      </ul>
      <div ref={ref} style={{ height }} aria-hidden />
    </figure>
  );
}
