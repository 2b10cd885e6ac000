import classes from "./HostileText.module.css";
import { pieces } from "./hostile";

interface Props {
  children: string | null | undefined;
  /** Shown instead when nothing is known. */
  none?: string;
  /** Keep line ends. */
  lines?: boolean;
  /** Cut off after so many lines; the whole stands in the tooltip. */
  clamp?: number;
}

/** A tooltip needs no more. */
const TITLE_CHARACTERS_MAX = 2000;

/** Text that somebody outside has written: characters that hide or turn around are made visible. */
export function HostileText({ children, none = "—", lines = false, clamp }: Props) {
  if (children === null || children === undefined || children === "") return <span className="soft">{none}</span>;
  const shown = pieces(children, lines).map((piece, place) =>
    "text" in piece ? (
      piece.text
    ) : (
      // biome-ignore lint/suspicious/noArrayIndexKey: pieces never move
      <span key={place} className={classes.sign} title={piece.name}>
        {piece.sign}
      </span>
    ),
  );
  const title = clamp === undefined ? undefined : children.slice(0, TITLE_CHARACTERS_MAX);
  return (
    <bdi
      className={classes.text}
      data-lines={lines || undefined}
      data-clamp={clamp !== undefined || undefined}
      style={clamp === undefined ? undefined : { WebkitLineClamp: clamp }}
      title={title}
    >
      {shown}
    </bdi>
  );
}
