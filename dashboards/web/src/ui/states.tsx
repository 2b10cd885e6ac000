import { Button, Loader } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ApiError } from "../api/error";
import classes from "./states.module.css";

/** Nothing is there, and that is no failure. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={classes.state}>
      <p className={classes.title}>{title}</p>
      {children}
    </div>
  );
}

/** Something is being fetched. It shows after a moment, so that quick answers do not flicker. */
export function Loading({ what = "Loading" }: { what?: string }) {
  return (
    <div className={`${classes.state} ${classes.late}`} role="status">
      <Loader size="sm" />
      <span>{what}…</span>
    </div>
  );
}

/** Something went wrong: what, and what to do about it. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const { kind, message, hint, status } = ApiError.from(error);
  const title =
    kind === "unauthenticated" || status === 401
      ? "You are not signed in"
      : status === 403
        ? "You may not see this"
        : kind === "unreachable"
          ? "The server cannot be reached"
          : status === 404
            ? "It is not there"
            : "This went wrong";
  return (
    <div className={classes.state} role="alert" data-kind={kind}>
      <p className={classes.title}>{title}</p>
      <p className={classes.message}>{message}</p>
      {hint !== undefined && <p className="soft">{hint}</p>}
      {retry !== undefined && (
        <Button size="xs" variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/** What is fetched: while it is not there, what happens; what was there stays while it is fetched again and fails. */
export function Fetched<T>({
  of,
  what,
  children,
}: {
  of: UseQueryResult<T>;
  what?: string;
  children: (data: T) => ReactNode;
}) {
  const retry = () => void of.refetch();
  if (of.data !== undefined) {
    return (
      <>
        {of.isError && (
          <p className={classes.stale} role="alert">
            What is shown may be old: {ApiError.from(of.error).message}{" "}
            <button type="button" className="link" onClick={retry}>
              Try again
            </button>
          </p>
        )}
        {children(of.data)}
      </>
    );
  }
  if (of.isError) return <Failure error={of.error} retry={retry} />;
  return <Loading {...(what === undefined ? {} : { what })} />;
}
