/** A value of an answer as text. */
export function cellText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const CHARACTER_PX = 8.1;
const WIDTH_PX = { min: 64, max: 380 };
const LOOKED_AT = 60;

/** The columns of an answer, each as wide as what stands in its first rows. */
export function columnsOf(rows: Record<string, unknown>[]): { name: string; numeric: boolean; width_px: number }[] {
  const looked = rows.slice(0, LOOKED_AT);
  return Object.keys(rows[0] ?? {}).map((name) => {
    const values = looked.map((row) => row[name]);
    const longest = Math.max(name.length, ...values.map((value) => (cellText(value) ?? "").length));
    return {
      name,
      numeric: values.some((value) => typeof value === "number"),
      width_px: Math.round(Math.min(Math.max(longest * CHARACTER_PX + 20, WIDTH_PX.min), WIDTH_PX.max)),
    };
  });
}
