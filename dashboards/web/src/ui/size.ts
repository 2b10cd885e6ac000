/** A number of bytes to be read at a glance. */
export function bytes(count: number): string {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  const place = count < 1 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), units.length - 1);
  return `${(count / 1000 ** place).toFixed(place === 0 ? 0 : 1)} ${units[place]}`;
}
