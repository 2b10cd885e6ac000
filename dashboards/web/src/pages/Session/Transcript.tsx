import { Button } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { type Recorded, type ScreenText, TRANSCRIPT_LINES, transcript } from "../../api/questions";
import { HostileText } from "../../ui/HostileText";
import { Failure, Loading } from "../../ui/states";
import classes from "./Transcript.module.css";

/** What was on the screen as text: for screen readers, for copying, and for reading without playing. */
export function Transcript({ recorded, show }: { recorded: Recorded; show: (at_us: number) => string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className={classes.transcript} onToggle={({ currentTarget: { open } }) => setOpen(open)}>
      <summary>Transcript: every line that was on the screen, as text</summary>
      {isOpen && <Lines recorded={recorded} show={show} />}
    </details>
  );
}

function Lines({ recorded, show }: { recorded: Recorded; show: (at_us: number) => string }) {
  const found = useInfiniteQuery({
    queryKey: ["transcript", recorded],
    queryFn: ({ pageParam, signal }) => transcript(recorded, pageParam, signal),
    initialPageParam: undefined as ScreenText | undefined,
    getNextPageParam: ({ rows }) => (rows.length < TRANSCRIPT_LINES ? undefined : rows.at(-1)),
  });
  if (found.isError) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (found.data === undefined) return <Loading what="Reading the screen" />;
  const lines = found.data.pages.flatMap(({ rows }) => rows);
  if (lines.length === 0) return <p className="soft">No text was on its screen, or it was not looked through yet.</p>;
  return (
    <>
      <ol className={classes.lines}>
        {lines.map(({ from_us, number, text }) => (
          <li key={`${from_us} ${number}`}>
            <span className={classes.at}>{show(from_us)}</span>
            <HostileText lines>{text}</HostileText>
          </li>
        ))}
      </ol>
      {found.hasNextPage && (
        <Button
          size="compact-sm"
          variant="default"
          loading={found.isFetchingNextPage}
          onClick={() => void found.fetchNextPage()}
        >
          More lines
        </Button>
      )}
    </>
  );
}
