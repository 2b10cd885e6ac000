import type { ReactNode } from "react";
import { isApproved, isFirm } from "../../api/access";
import type { Schemas } from "../../api/client";
import { duration } from "../../time/format";
import { Instant } from "../../time/zone";
import { LinkMethod } from "../../ui/Badges";
import { HostileText } from "../../ui/HostileText";
import classes from "./Evidence.module.css";

type Detail = Schemas["SessionDetail"];

/** What is known of a session besides what was on its screen: why, who said yes, and how far that can be trusted. */
export function Evidence({ session, index }: { session: Detail; index: Schemas["ReplayIndex"] | undefined }) {
  const { links } = session;
  const firm = links.filter(isFirm);
  const inferred = links.filter((link) => link.link_method === "inferred");
  return (
    <aside className={classes.evidence} aria-label="Evidence">
      {!isApproved(links) && (
        <p className={classes.alarm} role="note">
          <strong>This session has no proven approval.</strong>{" "}
          {inferred.length > 0
            ? "What is inferred below is likely, and no proof."
            : firm.length > 0
              ? "It is linked to what stands below, none of which was approved."
              : "No request, review or decision is linked to it."}
        </p>
      )}
      {firm.length > 0 && (
        <Part title="Access">
          {firm.map((link) => (
            <Access key={keyOf(link)} link={link} />
          ))}
        </Part>
      )}
      {inferred.length > 0 && (
        <Part title="Inferred">
          <details open={firm.length === 0}>
            <summary>{inferred.length === 1 ? "1 link" : `${inferred.length} links`}: likely, never proof</summary>
            {inferred.map((link) => (
              <Access key={keyOf(link)} link={link} />
            ))}
          </details>
        </Part>
      )}
      {session.requests.length > 0 && (
        <Part title="Requests and reviews">
          {session.requests.map((request) => (
            <Request
              key={request.request_id}
              request={request}
              reviews={session.reviews.filter((review) => review.request_id === request.request_id)}
            />
          ))}
        </Part>
      )}
      {session.decisions.length > 0 && (
        <Part title="Policy decisions">
          {session.decisions.map((decision) => (
            <Facts key={decision.event_id}>
              <Fact name={decision.outcome ?? "decided"}>
                <Instant at={decision.occurred_at} />
              </Fact>
              <Fact name="Policy">
                <HostileText>{decision.policy_path}</HostileText>
              </Fact>
              <Fact name="Revision">
                <HostileText>{decision.policy_revision}</HostileText>
              </Fact>
              <Fact name="Asked for">
                <HostileText>
                  {[decision.actor, decision.action, decision.target].filter(Boolean).join(" · ")}
                </HostileText>
              </Fact>
              {decision.ticket != null && (
                <Fact name="Ticket">
                  <HostileText>{decision.ticket}</HostileText>
                </Fact>
              )}
            </Facts>
          ))}
        </Part>
      )}
      <Part title="Recording">
        <RecordingFacts session={session} index={index} />
      </Part>
      <Part title="Session">
        <Facts>
          <Fact name="Id">
            <span className="mono">
              <HostileText>{session.session_id}</HostileText>
            </span>
          </Fact>
          <Fact name="Gateway">
            <HostileText>{[session.source, session.cluster].filter(Boolean).join(" · ")}</HostileText>
          </Fact>
          <Fact name="Began">
            <Instant at={session.started_at} />
          </Fact>
          <Fact name="Ended">
            {session.ended_at == null && session.state === "running" ? (
              "it still runs"
            ) : (
              <Instant at={session.ended_at} />
            )}
          </Fact>
          {session.actor !== session.person && (
            <Fact name="Known there as">
              <HostileText>{session.actor}</HostileText>
            </Fact>
          )}
          <Fact name="Account">
            <HostileText>{session.login}</HostileText>
          </Fact>
          {session.participants.some((participant) => participant !== session.actor) && (
            <Fact name="Who was in it">
              <HostileText>{session.participants.join(", ")}</HostileText>
            </Fact>
          )}
          <Fact name="Reached by">
            <HostileText>{[session.protocol, session.target_kind].filter(Boolean).join(" · ")}</HostileText>
          </Fact>
          {session.also.length > 0 && (
            <Fact name="Same id at">
              <HostileText>
                {session.also.map(({ source, cluster }) => [source, cluster].filter(Boolean).join(" · ")).join(", ")}
              </HostileText>
            </Fact>
          )}
          <Fact name="Read from">
            <span className="soft">
              {Object.entries(session.versions)
                .map(([table, version]) => `${table} ${version}`)
                .join(", ")}
            </span>
          </Fact>
        </Facts>
      </Part>
    </aside>
  );
}

const keyOf = (link: Schemas["Link"]) =>
  `${link.link_method} ${link.request_id} ${link.decision_id} ${link.link_event_ids}`;

function Access({ link }: { link: Schemas["Link"] }) {
  return (
    <Facts>
      <Fact name="Link">
        <LinkMethod method={link.link_method} />
      </Fact>
      <Fact name="Rests on">
        <HostileText>{link.link_facts}</HostileText>
      </Fact>
      <Fact name="Reason">
        <HostileText lines>{link.reason}</HostileText>
        {link.reason_by != null && (
          <span className="soft">
            {" "}
            by <HostileText>{link.reason_by}</HostileText>
          </span>
        )}
      </Fact>
      {link.tickets.length > 0 && (
        <Fact name="Ticket">
          <HostileText>{link.tickets.join(", ")}</HostileText>
        </Fact>
      )}
      <Fact name={link.decision_id == null ? "Said yes" : "Policy said yes"}>
        <HostileText none="nobody">{link.approvers.join(", ")}</HostileText>
      </Fact>
      {link.approved_at != null && (
        <Fact name="Approved">
          <Instant at={link.approved_at} />{" "}
          <Judged is={link.approved_before_start} yes="before it began" no="after it began" />
        </Fact>
      )}
      {link.access_expires_at != null && (
        <Fact name="Until">
          <Instant at={link.access_expires_at} />{" "}
          <Judged is={link.ended_within_window} yes="it ended before" no="it ended after" />
        </Fact>
      )}
    </Facts>
  );
}

/** A judgement in words; where it cannot be made, nothing is said. */
function Judged({ is, yes, no }: { is: boolean | null | undefined; yes: string; no: string }) {
  if (is == null) return null;
  return is ? <span className={classes.good}>{yes}</span> : <span className="alarm">{no}</span>;
}

function Request({ request, reviews }: { request: Schemas["AccessRequest"]; reviews: Schemas["Review"][] }) {
  return (
    <ol className={classes.steps}>
      <li>
        <Instant at={request.created_at} />
        <div>
          <HostileText>{request.requester}</HostileText> asked for <HostileText>{request.roles.join(", ")}</HostileText>
        </div>
        <div className="soft mono">
          <HostileText>{request.request_id}</HostileText>
        </div>
      </li>
      {reviews.map((review) => (
        <li key={review.event_id}>
          <Instant at={review.at} />
          <div>
            <HostileText none="somebody">{review.reviewer}</HostileText>
            {review.delegator != null && (
              <>
                {" "}
                for <HostileText>{review.delegator}</HostileText>
              </>
            )}
            : <strong>{(review.vote ?? review.state ?? "not known").toLowerCase()}</strong>
            {review.comment != null && (
              <>
                {", “"}
                <HostileText>{review.comment}</HostileText>
                {"”"}
              </>
            )}
          </div>
        </li>
      ))}
      <li>
        <div>
          It is <strong>{request.state.toLowerCase()}</strong>
          {request.self_approved && <span className="alarm">, by whoever asked</span>}
          {request.granted_roles.length > 0 && (
            <>
              ; granted was <HostileText>{request.granted_roles.join(", ")}</HostileText>
            </>
          )}
          {request.deleted && "; it was deleted"}
        </div>
        {request.expires_at != null && (
          <div className="soft">
            {request.expired ? "expired" : "expires"} <Instant at={request.expires_at} />
          </div>
        )}
      </li>
    </ol>
  );
}

/** Whether the recording is here and whole. */
function RecordingFacts({ session, index }: { session: Detail; index: Schemas["ReplayIndex"] | undefined }) {
  const state = session.recording_states[index?.source ?? session.source];
  return (
    <Facts>
      {state !== undefined && (
        <Fact name="State">
          <strong
            className={["missing", "incomplete", "unverifiable"].includes(state.recording_state) ? "alarm" : undefined}
          >
            {state.recording_state.replace("_", " ")}
          </strong>
          {state.why != null && <span className="soft">: {state.why}</span>}
        </Fact>
      )}
      {index !== undefined && <Recorded session={session} index={index} state={state} />}
    </Facts>
  );
}

interface RecordedProps {
  session: Detail;
  index: Schemas["ReplayIndex"];
  state: Schemas["RecordingState"] | undefined;
}

function Recorded({ session, index, state }: RecordedProps) {
  const missing = [
    state?.missing_bytes ? `${state.missing_bytes.toLocaleString("en")} bytes are missing` : undefined,
    state?.missing_events
      ? `${state.missing_events.toLocaleString("en")} positions of its stream are missing`
      : undefined,
  ].filter((text) => text !== undefined);
  return (
    <>
      <Fact name="Integrity">
        {state?.integrity ?? <span className="soft">streamed: no file was there to verify</span>}
      </Fact>
      <Fact name="Gaps">
        {missing.length > 0 ? (
          <span className="alarm">{missing.join(", ")}</span>
        ) : state?.missing_bytes == null && state?.missing_events == null ? (
          <span className="soft">not known: the source does not count</span>
        ) : (
          "none, by the source's own count"
        )}
      </Fact>
      <Fact name="Length">
        {duration(index.duration_us / 1000)}, {index.output_bytes.toLocaleString("en")} bytes of output, {index.cols} ×{" "}
        {index.rows}
      </Fact>
      {!index.ended && (
        <Fact name="End">
          <span className={session.state === "running" ? "" : "alarm"}>
            {session.state === "running" ? "it goes on" : "it has none: the recorder was cut off, or more is to come"}
          </span>
        </Fact>
      )}
      {index.replaced_bytes > 0 && (
        <Fact name="Not text">{index.replaced_bytes.toLocaleString("en")} bytes, shown as U+FFFD</Fact>
      )}
      {index.findings.length > 0 && (
        <Fact name="Findings">
          <span className="alarm">{index.findings.length}</span>, in the list of what happened
        </Fact>
      )}
      <Fact name="SHA-256">
        <span className={`mono ${classes.hash}`}>{index.output_sha256}</span>
      </Fact>
    </>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

const Facts = ({ children }: { children: ReactNode }) => <dl className={classes.facts}>{children}</dl>;

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
