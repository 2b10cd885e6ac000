import { useSyncExternalStore } from "react";

/** The time of a player. Only what shows it is drawn anew as it goes on. */
export class Ticking {
  #listeners = new Set<() => void>();
  #now_us: number;

  constructor(now_us = 0) {
    this.#now_us = now_us;
  }

  now_us = (): number => this.#now_us;

  set(now_us: number): void {
    if (now_us === this.#now_us) return;
    this.#now_us = now_us;
    for (const listener of this.#listeners) listener();
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}

const never = () => () => {};

/** What follows from the time that it is; nothing where nothing is played. */
export function useNow<T>(ticking: Ticking | undefined, of: (now_us: number) => T): T | undefined {
  return useSyncExternalStore(ticking?.subscribe ?? never, () =>
    ticking === undefined ? undefined : of(ticking.now_us()),
  );
}
