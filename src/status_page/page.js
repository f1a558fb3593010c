"use strict";
// Fetches this very address every two seconds and puts its tables in place of those that are shown. All text is escaped
// where it is written, on the server; here none is made.
(() => {
  const EVERY = 2000, LONGEST = 30000;
  const shown = document.getElementById("tables");
  const form = document.querySelector("form");
  const link = document.querySelector("[role=status]");
  let timer = 0, typing = 0, under_way = null, wait = EVERY;

  const say = (text, kind) => {
    if (link.textContent !== text) link.textContent = text;
    link.className = kind;
  };

  const put = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.getElementById(shown.id);
    if (!fresh) throw new Error("another page answers");
    const focused = shown.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = shown.querySelector(".wide")?.scrollLeft ?? 0;
    shown.replaceChildren(...fresh.childNodes);
    if (shown.querySelector(".wide")) shown.querySelector(".wide").scrollLeft = scrolled;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    document.title = page.title;
  };

  const reading = () => {
    const marked = getSelection();
    return marked && !marked.isCollapsed && shown.contains(marked.anchorNode);
  };

  const refresh = async (asked) => {
    clearTimeout(timer);
    under_way?.abort();
    const mine = (under_way = new AbortController());
    const overdue = setTimeout(() => mine.abort(), 10000);
    try {
      const answer = await fetch(location.pathname + location.search, { signal: mine.signal, cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (mine !== under_way) return;
      if (asked || !reading()) put(text);
      wait = EVERY;
      say("live", "on");
    } catch {
      if (mine !== under_way) return;
      wait = Math.min(wait * 2, LONGEST);
      say("no answer: trying again", "off");
    } finally {
      clearTimeout(overdue);
    }
    if (!document.hidden) timer = setTimeout(refresh, wait);
  };

  const go = (query, replace) => {
    const address = location.pathname + (query ? "?" + query : "");
    if (replace) history.replaceState(null, "", address); else history.pushState(null, "", address);
    refresh(true);
  };

  const filled = () => {
    const fields = [...new FormData(form)].filter(([, value]) => value);
    return new URLSearchParams(fields).toString();
  };

  const fill = () => {
    const asked = new URLSearchParams(location.search);
    for (const field of ["state", "namespace", "name"]) form.elements[field].value = asked.get(field) ?? "";
  };

  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => go(filled(), true), 120);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(filled(), true);
  });
  shown.addEventListener("click", (event) => {
    const to = event.target.closest("a[href^='?']");
    if (!to || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(to.getAttribute("href").slice(1), false);
    fill();
  });
  addEventListener("popstate", () => { fill(); refresh(true); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  document.documentElement.classList.add("scripted");
  say("live", "on");
  timer = setTimeout(refresh, EVERY);
})();
