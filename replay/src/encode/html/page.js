"use strict";

(() => {
  const element = (id) => document.getElementById(id);
  const read = (script) => JSON.parse(script.textContent);

  const fail = () => {
    element("failure").hidden = false;
  };
  window.addEventListener("error", fail);
  window.addEventListener("unhandledrejection", fail);

  const recording = read(element("recording"));
  // A segment is parsed when it is shown: all of them may be more than a browser can hold.
  const segments = [...document.querySelectorAll("script.segment")].map((script) => ({
    start_us: Number(script.dataset.start),
    read: () => read(script),
  }));
  const driver = new SegmentDriver(recording, segments);
  const player = AsciinemaPlayer.create(driver.source, element("player"), { controls: true, fit: "both" });

  const pad = (number, digits) => String(number).padStart(digits, "0");
  const elapsed = (time_us) => {
    const ms = Math.floor(time_us / 1000);
    const [hours, minutes, seconds] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1000) % 60];
    return `${pad(hours, 2)}:${pad(minutes, 2)}:${pad(seconds, 2)}.${pad(ms % 1000, 3)}`;
  };
  const wall = (time_us) => {
    if (recording.started_at_us === null) return "not known";
    const date = new Date(Math.floor((recording.started_at_us + time_us) / 1000));
    return Number.isNaN(date.valueOf()) ? "not known" : date.toISOString().replace("T", " ").replace("Z", " UTC");
  };
  const tick = () => {
    const time_us = Math.round(driver.getCurrentTime() * 1e6);
    element("wall").textContent = wall(time_us);
    element("elapsed").textContent = elapsed(time_us);
    element("elapsed").href = `#t=${time_us / 1e6}`;
  };
  element("duration").textContent = elapsed(recording.duration_us);
  tick();
  setInterval(tick, 100);

  const seekToHash = () => {
    const time = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
    if (time) player.seek(Number(time[1]));
  };
  window.addEventListener("hashchange", seekToHash);
  seekToHash();

  // The form keeps its state when the page is loaded again.
  const setSpeed = () => driver.setSpeed(Number(element("speed").value));
  const setSkipsIdle = () => driver.setSkipsIdle(element("skip-idle").checked);
  element("speed").addEventListener("change", setSpeed);
  element("skip-idle").addEventListener("change", setSkipsIdle);
  setSpeed();
  setSkipsIdle();
})();
