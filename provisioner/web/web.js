"use strict";
(() => {
  const SILENCE = 25000; // ms after which a line that says nothing is taken for lost
  const AGAIN = 3000; // ms before a line that was refused is tried again
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const bodies = new Map(all("tbody").map((body) => [body.dataset.host, body]));
  const line = one("#line"), byText = one("#by-text"), only = one("#only");
  let ahead = 0; // seconds that the server's clock is ahead of ours
  let watchdog = 0;

  const span = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return `${whole}s ago`;
    if (whole < 3600) return `${Math.floor(whole / 60)}m ${String(whole % 60).padStart(2, "0")}s ago`;
    return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m ago`;
  };
  const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const ready = (body) => one("[data-cell=ready]", body).classList.contains("good");

  const draw = (row) => {
    const body = bodies.get(row.name);
    if (!body) return;
    const before = one("[data-cell=ready]", body).textContent;
    for (const [name, [text, kind]] of Object.entries(row.cells)) {
      const cell = one(`[data-cell=${name}]`, body);
      put(cell, text);
      cell.className = kind;
    }
    body.dataset.seen = row.seen ?? "";
    const why = one(".why", body);
    put(why.lastElementChild, row.why);
    why.hidden = !row.why;
    if (row.cells.ready[0] !== before) {
      body.classList.add("news");
      setTimeout(() => body.classList.remove("news"), 300);
    }
  };

  const age = () => {
    const now = Date.now() / 1000 + ahead;
    for (const body of bodies.values()) {
      const cell = one("[data-cell=keepalive]", body), seen = Number(body.dataset.seen);
      put(cell, seen ? span(now - seen) : "-");
      cell.className = seen && now - seen > 150 ? "bad" : "";
    }
  };

  const filter = () => {
    const text = byText.value.trim().toLowerCase();
    let shown = 0, well = 0;
    for (const body of bodies.values()) {
      well += ready(body);
      const fits = body.textContent.toLowerCase().includes(text) && !(only.checked && ready(body));
      body.hidden = !fits;
      shown += fits;
    }
    one("#none").hidden = shown > 0;
    const words = `${well} of ${bodies.size} worker${bodies.size === 1 ? "" : "s"} ready`;
    put(one("#headline"), words);
    document.title = `b9prov: ${words}`;
  };

  const say = (kind, text) => {
    line.className = kind;
    put(line, text);
    document.body.classList.toggle("stale", kind === "lost");
  };

  const listen = () => {
    const stream = new EventSource("/events");
    const alive = () => {
      say("live", "live");
      clearTimeout(watchdog);
      watchdog = setTimeout(() => { stream.close(); again("no word from b9prov web; trying again"); }, SILENCE);
    };
    const take = (event) => {
      const { now, rows } = JSON.parse(event.data);
      ahead = now - Date.now() / 1000;
      for (const row of rows) draw(row);
      age();
      filter();
      alive();
    };
    for (const kind of ["all", "rows", "beat"]) stream.addEventListener(kind, take);
    stream.addEventListener("end", () => { stream.close(); again("b9prov web was ended"); });
    stream.addEventListener("error", () => {
      clearTimeout(watchdog);
      if (stream.readyState === EventSource.CLOSED) again("b9prov web does not know this page; open its new link");
      else say("lost", "b9prov web does not answer; trying again");
    });
  };
  const again = (why) => {
    clearTimeout(watchdog);
    say("lost", why);
    setTimeout(listen, AGAIN);
  };

  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== byText) { event.preventDefault(); byText.focus(); }
    if (event.key === "Escape" && event.target === byText) { byText.value = ""; byText.blur(); filter(); }
  });
  byText.addEventListener("input", filter);
  only.addEventListener("change", filter);
  one(".filters").addEventListener("submit", (event) => event.preventDefault());
  one(".filters").hidden = false;
  setInterval(age, 1000);
  listen();
})();
