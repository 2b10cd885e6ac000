type Cell = string | number | boolean | null | undefined;

/** A cell, quoted where it has to be. `'` stands before a text that a spreadsheet would run as a formula. */
function cell(value: Cell): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows as CSV, with a line of titles. */
export function toCsv<T>(columns: { id: string; text: (row: T) => Cell }[], rows: T[]): string {
  const lines = [columns.map(({ id }) => cell(id)), ...rows.map((row) => columns.map(({ text }) => cell(text(row))))];
  return lines.map((line) => `${line.join(",")}\r\n`).join("");
}

/** Saves a text as a file. */
export function download(name: string, type: string, content: string | Blob): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  URL.revokeObjectURL(url);
}
