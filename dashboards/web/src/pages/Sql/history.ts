/** The statements that this browser has asked. They stay in it. */
export interface Asked {
  sql: string;
  at: string;
  ms: number;
  rows?: number;
  error?: string;
}

const HISTORY_MAX = 50;
/** A longer one would fill what the browser gives to a site. */
const SQL_CHARACTERS_MAX = 20_000;

/** A history with another statement; of the same one only the last time is kept. */
export const withAsked = (history: Asked[], asked: Asked): Asked[] =>
  asked.sql.length > SQL_CHARACTERS_MAX
    ? history
    : [asked, ...history.filter(({ sql }) => sql !== asked.sql)].slice(0, HISTORY_MAX);

/** The statement that an address shares: it stands in the fragment, which is never sent to a server. */
export function shared(hash: string): string | undefined {
  try {
    return hash.startsWith("#q=") ? decodeURIComponent(hash.slice(3)) : undefined;
  } catch {
    return undefined;
  }
}

export const share = (sql: string): string => `#q=${encodeURIComponent(sql)}`;
