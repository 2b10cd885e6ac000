import { Button, Modal, NativeSelect, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Schemas } from "../../api/client";
import { type ExceptionStep, exceptionSteps, type ReportRow, setException } from "../../api/reports";
import { Instant } from "../../time/zone";
import { ExceptionState } from "../../ui/Badges";
import { HostileText } from "../../ui/HostileText";
import { Failure, Fetched } from "../../ui/states";
import classes from "./Report.module.css";

const AGAIN_MS = 1_000;

const STATES: { value: Schemas["ExceptionState"]; label: string }[] = [
  { value: "explained", label: "explained: it is known how it came about" },
  { value: "accepted", label: "accepted: somebody takes the risk" },
  { value: "remediated", label: "remediated: what caused it was mended" },
  { value: "open", label: "open: not dealt with" },
];

/** What was said of an exception so far, and another step. What is typed stays when it cannot be written down. */
export function ExceptionLife({ report, row, close }: { report: string; row: ReportRow; close: () => void }) {
  const client = useQueryClient();
  const [state, setState] = useState<Schemas["ExceptionState"]>("explained");
  const [why, setWhy] = useState("");
  const [written, setWritten] = useState<{ state: string; note: string }>();
  const isThere = (steps: ExceptionStep[] | undefined) =>
    written === undefined ||
    steps?.some(({ key, state, note }) => key === row.key && state === written.state && note === written.note) === true;
  const life = useQuery({
    queryKey: ["exceptions", report],
    queryFn: ({ signal }) => exceptionSteps({ report, history: true }, signal),
    // They may have been asked for just before it was written down.
    refetchInterval: (query) => (isThere(query.state.data) ? false : AGAIN_MS),
  });
  const add = useMutation({
    mutationFn: () => setException({ report, key: row.key, state, why }),
    onSuccess: async () => {
      setWritten({ state, note: why });
      setWhy("");
      await client.invalidateQueries({ queryKey: ["exceptions"] });
    },
  });
  return (
    <Modal opened onClose={close} size="lg" title={`Exception of ${report}`}>
      <p style={{ marginTop: 0 }}>
        <HostileText>{row.key}</HostileText>
      </p>
      <Fetched of={life} what="Looking for what was said">
        {(steps) => {
          const own = steps
            .filter(({ key }) => key === row.key)
            .toSorted((a, b) => (a.at ?? "").localeCompare(b.at ?? ""));
          return own.length === 0 ? (
            <p className="soft">Nothing was said of it: it is open.</p>
          ) : (
            <ol className={classes.steps}>
              {own.map(({ at, by, state, note }) => (
                <li key={`${at} ${state}`}>
                  <ExceptionState state={state} />{" "}
                  <span className="soft">
                    <Instant at={at} /> by <HostileText>{by}</HostileText>
                  </span>
                  <div>
                    <HostileText lines>{note}</HostileText>
                  </div>
                </li>
              ))}
            </ol>
          );
        }}
      </Fetched>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <NativeSelect
          size="xs"
          label="From now on it is"
          value={state}
          data={STATES}
          onChange={({ currentTarget: { value } }) => setState(value as Schemas["ExceptionState"])}
        />
        <Textarea
          size="xs"
          label="Why"
          rows={3}
          required
          value={why}
          onChange={({ currentTarget: { value } }) => setWhy(value)}
        />
        <p className="soft">A step is only added, with who and when. The rows of this run stay as they were found.</p>
        {add.isError && <Failure error={add.error} />}
        {add.isSuccess && why === "" && <p role="status">It is written down.</p>}
        <Button size="xs" type="submit" loading={add.isPending} disabled={why.trim() === ""}>
          Write it down
        </Button>
      </form>
    </Modal>
  );
}
