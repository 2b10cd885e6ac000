import { useLocalStorage } from "@mantine/hooks";
import { useCallback } from "react";
import { clock, instant } from "../time/format";
import { useZone } from "../time/zone";

export type ClockMode = "elapsed" | "wall";

/** How times of a recording are shown: since its start, or by the clock on the wall where that is known. */
export function useClock(started_at_us: number | null | undefined) {
  const [kept, setMode] = useLocalStorage<ClockMode>({
    key: "custody.clock",
    defaultValue: "elapsed",
    getInitialValueInEffect: false,
  });
  const { zone } = useZone();
  const mode: ClockMode = kept === "wall" && started_at_us != null ? "wall" : "elapsed";
  const show = useCallback(
    (at_us: number, digits: 0 | 1 | 3 = 0) => {
      if (mode === "elapsed" || started_at_us == null)
        return at_us <= -1_000_000 ? `−${clock(-at_us, digits)}` : clock(at_us, digits);
      const at = new Date(Math.floor((started_at_us + at_us) / 1000));
      return instant(at, zone, digits === 0 ? "second" : "millisecond");
    },
    [mode, started_at_us, zone],
  );
  return { mode, setMode, show };
}
