import { NativeSelect, TextInput } from "@mantine/core";
import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useSearchParams } from "wouter";
import { fromTyped, typed } from "../time/format";
import { useZone } from "../time/zone";
import classes from "./filters.module.css";

/** Filters of a page, which are kept in its address: a link shows the same to whoever follows it. */
export function useFilters<Name extends string>(names: readonly Name[]) {
  const [params, setParams] = useSearchParams();
  const values = useMemo(
    () => Object.fromEntries(names.map((name) => [name, params.get(name) ?? ""])) as Record<Name, string>,
    [names, params],
  );
  /** Sets some of them; a filter that is empty is none. */
  const set = useCallback(
    (changed: Partial<Record<Name, string>>, options?: { replace?: boolean }) => {
      setParams((before) => {
        const after = new URLSearchParams(before);
        for (const [name, value] of Object.entries<string | undefined>(changed)) {
          if (value === undefined || value === "") after.delete(name);
          else after.set(name, value);
        }
        return after;
      }, options);
    },
    [setParams],
  );
  return [values, set] as const;
}

/** The filters of a page, one beside the other. */
export const Filters = ({ children }: { children: ReactNode }) => (
  <search className={classes.filters}>{children}</search>
);

interface FilterProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
}

/** Typing asks only when it pauses. */
const PAUSE_MS = 350;

/** A filter that is typed. */
export function TextFilter({ label, value, onChange, placeholder }: FilterProps & { placeholder?: string }) {
  const [draft, setDraft] = useState(value);
  const [known, setKnown] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  // The address has changed by something else than typing.
  if (value !== known) {
    setKnown(value);
    setDraft(value);
  }
  useEffect(() => () => clearTimeout(timer.current), []);
  const change = (next: string) => {
    clearTimeout(timer.current);
    setKnown(next);
    onChange(next);
  };
  return (
    <TextInput
      size="xs"
      label={label}
      value={draft}
      {...(placeholder === undefined ? {} : { placeholder })}
      onChange={({ currentTarget: { value } }) => {
        setDraft(value);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => change(value), PAUSE_MS);
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter") change(draft);
      }}
    />
  );
}

/** A filter with a few values: pairs of value and name. */
export function ChoiceFilter({ label, value, onChange, choices }: FilterProps & { choices: [string, string][] }) {
  const data = [{ value: "", label: "any" }, ...choices.map(([value, label]) => ({ value, label }))];
  return (
    <NativeSelect
      size="xs"
      label={label}
      value={value}
      onChange={({ currentTarget: { value } }) => onChange(value)}
      data={data}
    />
  );
}

/** A filter by an instant, typed in the chosen zone. The value is RFC 3339. */
export function InstantFilter({ label, value, onChange }: FilterProps) {
  const { zone } = useZone();
  const shown = value === "" ? "" : typed(value, zone);
  const [draft, setDraft] = useState<string>();
  const isWrong = draft !== undefined && draft.trim() !== "" && fromTyped(draft, zone) === undefined;
  const leave = () => {
    if (draft === undefined || isWrong) return;
    setDraft(undefined);
    if (draft !== shown) onChange(fromTyped(draft, zone) ?? "");
  };
  return (
    <TextInput
      size="xs"
      label={`${label} (${zone === "utc" ? "UTC" : "local time"})`}
      placeholder="2026-11-02"
      value={draft ?? shown}
      error={isWrong && "Like 2026-11-02 09:00"}
      onChange={({ currentTarget: { value } }) => setDraft(value)}
      onBlur={leave}
      onKeyDown={(event) => {
        if (event.key === "Enter") leave();
      }}
    />
  );
}
