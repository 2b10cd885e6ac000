/** Bytes as a hex dump: place, bytes, and what can be read of them. */
export function dump(hex: string): string {
  const bytes = hex.match(/../g) ?? [];
  const lines: string[] = [];
  for (let from = 0; from < bytes.length; from += 16) {
    const line = bytes.slice(from, from + 16);
    const read = line.map((byte) => {
      const code = Number.parseInt(byte, 16);
      return code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : ".";
    });
    lines.push(`${from.toString(16).padStart(8, "0")}  ${line.join(" ").padEnd(47)}  ${read.join("")}`);
  }
  return lines.join("\n");
}
