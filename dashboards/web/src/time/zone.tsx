import { useLocalStorage } from "@mantine/hooks";
import { createContext, type ReactNode, useContext } from "react";
import { instant, type Precision, type Zone } from "./format";

const Zones = createContext<{ zone: Zone; setZone: (zone: Zone) => void }>({ zone: "utc", setZone: () => {} });

/** Keeps the zone in which all pages show instants. */
export function ZoneProvider({ children }: { children: ReactNode }) {
  const [kept, setZone] = useLocalStorage<Zone>({
    key: "custody.zone",
    defaultValue: "utc",
    getInitialValueInEffect: false,
  });
  const zone: Zone = kept === "local" ? "local" : "utc";
  return <Zones value={{ zone, setZone }}>{children}</Zones>;
}

export const useZone = () => useContext(Zones);

/** An instant in the chosen zone; what the server wrote stands in its tooltip, to the microsecond. */
export function Instant({ at, precision = "second" }: { at: string | null | undefined; precision?: Precision }) {
  const { zone } = useZone();
  if (at === null || at === undefined) return <span className="soft">not known</span>;
  return (
    <time dateTime={at} title={at} className="instant">
      {instant(at, zone, precision)}
    </time>
  );
}
