/** Text from outside, with what cannot be seen made visible. It is shown as text, never as HTML. */

/** A run of text, or one character that would do something instead of being seen. */
export type Piece = { text: string } | { sign: string; name: string };

// C0, DEL and C1 controls; soft hyphen; what changes direction, joins, hides or annotates; tags; private use is seen.
const UNSEEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  // biome-ignore lint/suspicious/noMisleadingCharacterClass: each of them is meant by itself
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/gu;

/** Joins two emoji to one: it does what it is there for. */
const JOINER = "\u200d";
const EMOJI = /(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\ufe0f)$/u;

function sign(character: string): Piece {
  const code = character.codePointAt(0) ?? 0;
  const name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  // Unicode has pictures of the C0 controls.
  if (code < 0x20) return { sign: String.fromCodePoint(0x2400 + code), name };
  if (code === 0x7f) return { sign: "\u2421", name };
  return { sign: `‹${name}›`, name };
}

/** Cuts a text; `lines` keeps line ends and tabs as they are. */
export function pieces(text: string, lines = false): Piece[] {
  const found: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(UNSEEN)) {
    const [character] = match;
    if (lines && (character === "\n" || character === "\t")) continue;
    if (character === JOINER && EMOJI.test(text.slice(Math.max(0, match.index - 2), match.index))) continue;
    if (match.index > from) found.push({ text: text.slice(from, match.index) });
    found.push(sign(character));
    from = match.index + character.length;
  }
  if (from < text.length) found.push({ text: text.slice(from) });
  return found;
}
