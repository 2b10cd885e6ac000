import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from "react";

/** What a key, or two one after the other (`g s`), does. */
export interface Key {
  keys: string;
  does: string;
  run: () => void;
}

/** Keys that belong together, as the overlay lists them. */
export interface KeyGroup {
  name: string;
  keys: Key[];
}

/** The second of two keys has to come within this time. */
const SEQUENCE_MS = 1200;

interface Registry {
  add: (group: { current: KeyGroup }) => () => void;
  groups: () => KeyGroup[];
}

const Keys = createContext<Registry>({ add: () => () => {}, groups: () => [] });

/** Whether somebody types, or a key means something to what has the focus. */
function isTaken(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return true;
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (
    target.isContentEditable ||
    target.closest("input, textarea, select, [role=menu], [role=dialog], [role=listbox]")
  ) {
    return true;
  }
  return (event.key === "Enter" || event.key === " ") && target.closest("a, button, summary") !== null;
}

/** Gives every part of a page its keys while it is shown; the last part that wants a key has it. */
export function KeysProvider({ children }: { children: ReactNode }) {
  const groups = useRef<{ current: KeyGroup }[]>([]);
  const registry = useMemo<Registry>(
    () => ({
      add: (group) => {
        groups.current.push(group);
        return () => {
          groups.current = groups.current.filter((other) => other !== group);
        };
      },
      groups: () => groups.current.map((group) => group.current),
    }),
    [],
  );
  useEffect(() => {
    let first: { key: string; at_ms: number } | undefined;
    const press = (event: KeyboardEvent) => {
      if (isTaken(event)) return;
      const find = (keys: string) =>
        groups.current.flatMap((group) => group.current.keys).findLast((key) => key.keys === keys);
      const isSecond = first !== undefined && event.timeStamp - first.at_ms < SEQUENCE_MS;
      const found = (isSecond ? find(`${first?.key} ${event.key}`) : undefined) ?? find(event.key);
      first = found === undefined ? { key: event.key, at_ms: event.timeStamp } : undefined;
      if (found === undefined) return;
      event.preventDefault();
      found.run();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  return <Keys value={registry}>{children}</Keys>;
}

/** Listens for keys while the component is shown. */
export function useKeys(name: string, keys: Key[]): void {
  const { add } = useContext(Keys);
  const group = useRef<KeyGroup>({ name, keys });
  useEffect(() => {
    group.current = { name, keys };
  });
  useEffect(() => add(group), [add]);
}

/** The keys that mean something at this moment, asked for when the overlay opens. */
export function useKeyGroups(isOpen: boolean): KeyGroup[] {
  const { groups } = useContext(Keys);
  const [shown, setShown] = useState<KeyGroup[]>([]);
  useEffect(() => {
    if (isOpen) setShown(groups());
  }, [groups, isOpen]);
  return shown;
}
