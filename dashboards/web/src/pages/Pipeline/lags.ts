import type { Sample } from "../../api/operation";

/** Messages of each partition that wait at the broker, by topic and partition. */
export const lags = (samples: Sample[]) =>
  new Map(
    samples
      .filter(({ name }) => name === "custody_ingest_lag_messages")
      .map(({ labels, value }) => [`${labels.topic} ${labels.partition}`, value]),
  );
