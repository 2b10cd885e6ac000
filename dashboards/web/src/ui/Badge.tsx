import { Tooltip } from "@mantine/core";
import type { ReactNode } from "react";
import classes from "./Badge.module.css";

/** How something is to be taken: `alarm` is for what somebody has to look at. */
export type Tone = "good" | "note" | "plain" | "warn" | "alarm";

/** A word with its tone; the tooltip says what it means. */
export function Badge({ tone, means, children }: { tone: Tone; means?: string; children: ReactNode }) {
  const badge = (
    <span className={classes.badge} data-tone={tone}>
      {children}
    </span>
  );
  return means === undefined ? badge : <Tooltip label={means}>{badge}</Tooltip>;
}
