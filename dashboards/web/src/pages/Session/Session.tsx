import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, useParams, useSearchParams } from "wouter";
import { answer, api, type Schemas } from "../../api/client";
import { ApiError } from "../../api/error";
import { useClock } from "../../replay/clockMode";
import { useReplay, type Which } from "../../replay/useReplay";
import { duration, micros } from "../../time/format";
import { Instant } from "../../time/zone";
import { Approval, SessionState } from "../../ui/Badges";
import { HostileText } from "../../ui/HostileText";
import { Empty, Failure, Fetched, Loading } from "../../ui/states";
import { Title } from "../../ui/Title";
import { Evidence } from "./Evidence";
import { Happened } from "./Happened";
import { Live } from "./Live";
import { eventMoments } from "./moments";
import { Replay } from "./Replay";
import classes from "./Session.module.css";

type Detail = Schemas["SessionDetail"];

/** One session: what was on its screen, and beside it who, why, and who said yes. */
export default function Session() {
  const { id = "" } = useParams();
  const [params] = useSearchParams();
  const which = { id, source: params.get("source") ?? undefined, channel: params.get("channel") ?? undefined };
  // The player is fetched meanwhile; whoever needs it and does not get it says so.
  useEffect(() => void import("../../replay/players").catch(() => {}), []);
  // Neither waits for the other: what is there first is shown first.
  const replay = useReplay(which);
  const found = useQuery({
    queryKey: ["session", id],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/sessions/{id}", { params: { path: { id } }, signal })),
    // What goes on changes.
    refetchInterval: ({ state }) => (state.data?.state === "running" ? 10_000 : false),
  });
  const session = found.data;
  if (found.isError && session === undefined) {
    return (
      <>
        <Title>Session</Title>
        <Failure error={found.error} retry={() => void found.refetch()} />
        <Link href="/sessions">All sessions</Link>
      </>
    );
  }
  return (
    <>
      <div className={classes.head}>
        {session === undefined ? <Title>Session</Title> : <Head session={session} />}
        <Link className={classes.all ?? ""} href="/sessions">
          All sessions
        </Link>
      </div>
      <div className={classes.columns}>
        <div className={classes.main}>
          <Screen session={session} which={which} replay={replay} />
        </div>
        <Fetched of={found} what="Reading the evidence">
          {(session) => <Evidence session={session} index={replay.data} />}
        </Fetched>
      </div>
    </>
  );
}

function Head({ session: { person, target, links, state, started_at, duration_ms } }: { session: Detail }) {
  return (
    <>
      <Title name={`${person ?? "somebody"} on ${target ?? "something"}`}>
        <HostileText none="somebody">{person}</HostileText> on <HostileText none="something">{target}</HostileText>
      </Title>
      <Approval links={links} />
      <SessionState state={state} />
      <span className="soft">
        <Instant at={started_at} />
        {duration_ms != null && <>, {duration(duration_ms)}</>}
      </span>
    </>
  );
}

interface ScreenProps {
  /** Nothing while it is fetched. */
  session: Detail | undefined;
  which: Which;
  replay: ReturnType<typeof useReplay>;
}

/** The recording, played or followed; or why there is none, and what happened all the same. */
function Screen({ session, which, replay }: ScreenProps) {
  const [params] = useSearchParams();
  // A link to a moment means what was recorded.
  const [isLive, setLive] = useState(!params.has("at"));
  const [pausedAt_us, setPausedAt] = useState<number>();
  const index = replay.data;
  if (index === undefined) {
    return (
      <>
        <Missing replay={replay} />
        {session !== undefined && <Events session={session} />}
      </>
    );
  }
  // Only the session knows whether more is to come.
  if (session === undefined && !index.ended) return <Loading what="Fetching the recording" />;
  const canFollow = session?.state === "running" && !index.ended;
  if (canFollow && isLive) {
    const pause = async (at_us: number) => {
      // What has come since it was fetched is to be played too.
      await replay.refetch();
      setPausedAt(at_us);
      setLive(false);
    };
    return (
      <>
        <Live index={index} pause={pause} />
        <Events session={session} />
      </>
    );
  }
  return (
    <Replay
      index={index}
      which={which}
      session={session}
      at_us={pausedAt_us}
      goLive={canFollow ? () => setLive(true) : undefined}
    />
  );
}

function Missing({ replay }: Pick<ScreenProps, "replay">) {
  if (!replay.isError) {
    const isLooked = replay.failureReason !== null && ApiError.from(replay.failureReason).kind === "looking";
    return (
      <Loading what={isLooked ? "The recording is looked through for the first time" : "Fetching the recording"} />
    );
  }
  const { kind, message } = ApiError.from(replay.error);
  if (kind !== "not_found" && kind !== "unplayable") {
    return <Failure error={replay.error} retry={() => void replay.refetch()} />;
  }
  return (
    <Empty title="There is nothing to play">
      <p className="soft">{message}</p>
    </Empty>
  );
}

/** The events of a session of which nothing is played. */
function Events({ session }: { session: Detail }) {
  const started_at_us = session.started_at == null ? undefined : micros(session.started_at);
  const { show } = useClock(started_at_us);
  if (session.events.length === 0) return null;
  return (
    <Happened
      moments={eventMoments(session.events, started_at_us)}
      ticking={undefined}
      show={show}
      seek={undefined}
      find={undefined}
    >
      {session.events_truncated && (
        <p className="soft">There are more events than the first {session.events.length}.</p>
      )}
    </Happened>
  );
}
