/** The upper edges of values that stand on each other. */
export function stacked(series: number[][]): number[][] {
  let below: number[] = [];
  return series.map((values) => {
    below = values.map((value, place) => value + (below[place] ?? 0));
    return below;
  });
}
