import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "wouter";
import { answer, api, type Schemas } from "../../api/client";
import { ApiError } from "../../api/error";
import { Instant } from "../../time/zone";
import { Fact, Facts } from "../../ui/Facts";
import { HostileText } from "../../ui/HostileText";
import { RequestState } from "../../ui/RequestState";
import { Empty, Fetched } from "../../ui/states";
import { Title } from "../../ui/Title";
import classes from "./Request.module.css";
import { steps } from "./steps";

type Detail = Schemas["RequestDetail"];

/** The requests of an id: two gateways may use the same. */
async function requestsOf(id: string, signal: AbortSignal): Promise<Detail[]> {
  const of = (source?: string) =>
    answer(
      api.GET("/api/v1/requests/{id}", {
        params: { path: { id }, query: source === undefined ? {} : { source } },
        signal,
      }),
    );
  const first = await of();
  return [first, ...(await Promise.all(first.also.map(of)))];
}

/** One request: who asked, who decided, and which sessions used it. */
export default function Request() {
  const { id = "" } = useParams();
  const found = useQuery({ queryKey: ["request", id], queryFn: ({ signal }) => requestsOf(id, signal) });
  if (found.isError && found.data === undefined && ApiError.from(found.error).status === 404) {
    return (
      <>
        <Title>Request</Title>
        <Empty title="It is not there">
          <p className="soft">No gateway has told of a request with this id.</p>
          <Link href="/requests">All requests</Link>
        </Empty>
      </>
    );
  }
  return (
    <Fetched of={found} what="Reading the request">
      {(requests) => requests.map((request) => <One key={request.source} request={request} />)}
    </Fetched>
  );
}

function One({ request }: { request: Detail }) {
  const { source, cluster, request_id, requester, roles, granted_roles, target, tickets } = request;
  return (
    <>
      <div className={classes.head}>
        <Title name={`Request of ${requester ?? "somebody"}`}>
          Request of <HostileText none="somebody">{requester}</HostileText>
        </Title>
        <RequestState request={request} />
        {request.self_approved && <span className="alarm">approved by oneself</span>}
        <Link href="/requests">All requests</Link>
      </div>
      <div className={classes.columns}>
        <section className="card" aria-label="What happened">
          <h2>What happened</h2>
          <ol className={classes.steps}>
            {steps(request, new Date()).map(({ key, at, tone, who, did, words, session_id }) => (
              <li key={key} data-tone={tone}>
                <div className="soft">{at === null ? "at a time that is not known" : <Instant at={at} />}</div>
                <div>
                  {who !== null && (
                    <>
                      <HostileText>{who}</HostileText>{" "}
                    </>
                  )}
                  {session_id === undefined ? (
                    <HostileText>{did}</HostileText>
                  ) : (
                    <Link href={`/sessions/${encodeURIComponent(session_id)}`}>
                      <HostileText>{did}</HostileText>
                    </Link>
                  )}
                </div>
                {words !== null && words !== "" && (
                  <blockquote className={classes.words}>
                    <HostileText lines clamp={6}>
                      {words}
                    </HostileText>
                  </blockquote>
                )}
              </li>
            ))}
          </ol>
          {request.sessions_truncated && (
            <p className="soft">
              There are more than {request.sessions.length} sessions:{" "}
              <Link href={`/sessions?request=${encodeURIComponent(request_id)}`}>all of them</Link>
            </p>
          )}
          {request.sessions.length === 0 && <p className="soft">No session used it.</p>}
        </section>
        <section className="card" aria-label="What was asked for">
          <h2>What was asked for</h2>
          <Facts>
            <Fact name="Roles">
              <HostileText>{roles.join(", ")}</HostileText>
            </Fact>
            {granted_roles.length > 0 && (
              <Fact name="Given">
                <HostileText>{granted_roles.join(", ")}</HostileText>
              </Fact>
            )}
            <Fact name="Target">
              <HostileText>{target}</HostileText>
            </Fact>
            <Fact name="Tickets">
              <HostileText>{tickets.join(", ")}</HostileText>
            </Fact>
            <Fact name="Made">
              <Instant at={request.created_at} />
            </Fact>
            <Fact name="Ends">
              <Instant at={request.expires_at} />
            </Fact>
            <Fact name="Gateway">
              <HostileText>{cluster == null ? source : `${source}, ${cluster}`}</HostileText>
            </Fact>
            <Fact name="Its word">
              <HostileText>{request.state}</HostileText>
            </Fact>
            <Fact name="Id">
              <HostileText>{request_id}</HostileText>
            </Fact>
          </Facts>
        </section>
      </div>
    </>
  );
}
