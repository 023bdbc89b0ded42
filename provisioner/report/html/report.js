"use strict";
(() => {
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  document.documentElement.classList.add("script");

  const hosts = all(".host").map((element) => ({
    element,
    name: element.dataset.host.toLowerCase(),
    lane: one(".lane", element),
    list: one("ol", element),
    lost: !element.classList.contains("well"),
    tasks: null,
  }));
  const byHost = one("#by-host"), byText = one("#by-text"), count = one("#count");
  const boxes = all("input[name=status]"), toggle = one("#all");
  const counts = new Intl.NumberFormat("en");

  // Read when first needed: of a big run that takes a moment.
  const tasks = (host) => host.tasks ??= all(".task", host.list).map((element) => ({
    element,
    status: element.classList[1],
    text: element.textContent.toLowerCase(),
  }));

  const named = (asked) => {
    const patterns = asked.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const tests = patterns.map((pattern) => {
      if (!pattern.includes("*")) return (name) => name.includes(pattern);
      const parts = pattern.split("*").map((part) => part.replace(/[^\w]/g, "\\$&"));
      const expression = new RegExp(`^${parts.join(".*")}$`);
      return (name) => expression.test(name);
    });
    return (name) => !tests.length || tests.some((test) => test(name));
  };

  const filter = () => {
    const wanted = named(byHost.value), text = byText.value.trim().toLowerCase();
    const on = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const usual = boxes.every((box) => box.checked || box.value === "skipped");
    let shownHosts = 0, shownTasks = 0, total = 0;
    for (const host of hosts) {
      const here = wanted(host.name);
      let fitting = 0;
      for (const task of tasks(host)) {
        const fits = here && on.has(task.status) && (!text || task.text.includes(text));
        if (task.element.hidden === fits) task.element.hidden = !fits;
        fitting += fits;
      }
      total += host.tasks.length;
      const whole = !text && (usual || (host.lost && on.has("failed")));
      const told = text && host.element.dataset.host.toLowerCase().includes(text);
      const show = here && (fitting > 0 || whole || told);
      host.element.hidden = !show;
      shownHosts += show;
      shownTasks += show ? fitting : 0;
      for (const play of all(".play", host.list)) {
        let next = play.nextElementSibling;
        while (next && next.hidden && !next.classList.contains("play")) next = next.nextElementSibling;
        play.hidden = !next || next.classList.contains("play");
      }
    }
    one("#none").hidden = shownHosts > 0;
    count.textContent =
      `${counts.format(shownHosts)} of ${counts.format(hosts.length)} hosts, ` +
      `${counts.format(shownTasks)} of ${counts.format(total)} tasks and items`;
  };

  let waiting = 0;
  const soon = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(filter); };
  for (const input of [byHost, byText]) input.addEventListener("input", soon);
  for (const box of boxes) box.addEventListener("change", soon);
  one(".filters").addEventListener("submit", (event) => event.preventDefault());

  toggle.addEventListener("click", () => {
    const open = toggle.textContent === "Open all";
    for (const host of hosts) if (!host.element.hidden) host.element.open = open;
    toggle.textContent = open ? "Close all" : "Open all";
  });

  // A bar belongs to the task of the same place among those that were not skipped.
  const taskOf = (bar) => {
    const host = hosts.find((each) => each.lane === bar.parentNode);
    const bars = all("rect:not(.connect):not(.unreachable)", host.lane);
    const place = bars.indexOf(bar);
    return place < 0 ? null : all(".task:not(.skipped)", host.list)[place];
  };
  const tip = one("#tip");
  const hide = () => { tip.hidden = true; };
  document.addEventListener("pointerover", (event) => {
    if (event.target.nodeName !== "rect" || event.target.parentNode.classList[0] !== "lane") return hide();
    const task = taskOf(event.target);
    const kind = event.target.classList[0];
    tip.textContent = task
      ? `${one(".title", task).firstChild.textContent.trim()}: ${one(".status", task).textContent}, ${one(".took", task).textContent}`
      : kind === "connect" ? "connecting" : "out of reach";
    tip.hidden = false;
    const bar = event.target.getBoundingClientRect(), box = tip.getBoundingClientRect();
    const x = Math.max(8, Math.min(bar.left, innerWidth - box.width - 8));
    tip.style.transform = `translate(${x}px, ${Math.max(8, bar.top - box.height - 6)}px)`;
  });

  const show = (task) => {
    for (const each of all(".found")) each.classList.remove("found");
    task.hidden = false;
    task.closest(".host").open = true;
    const details = one("details", task);
    if (details) details.open = true;
    task.classList.add("found");
    task.scrollIntoView({ block: "center" });
  };
  document.addEventListener("click", (event) => {
    if (event.target.nodeName === "rect" && event.target.parentNode.classList[0] === "lane") {
      const task = taskOf(event.target);
      if (!task) return;
      event.preventDefault();
      show(task);
    }
    const link = event.target.closest?.("a[href^='#']");
    if (link) one(link.getAttribute("href")).open = true;
  });

  // "/" to the search, Escape out of it, the arrows from line to line.
  document.addEventListener("keydown", (event) => {
    const typing = event.target.nodeName === "INPUT";
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byText.focus();
    } else if (event.key === "Escape" && typing) {
      if (event.target.type === "search") event.target.value = "";
      event.target.blur();
      soon();
    } else if (event.target.nodeName === "SUMMARY" && /^Arrow(Up|Down)$/.test(event.key)) {
      const lines = all(".host summary").filter((each) => each.checkVisibility());
      const next = lines[lines.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)];
      if (next) { event.preventDefault(); next.focus(); }
    }
  });

  one("#copy")?.addEventListener("click", async (event) => {
    const button = event.target;
    try {
      await navigator.clipboard.writeText(one("#retry").textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(one("#retry"));
    }
  });
  filter();
})();
