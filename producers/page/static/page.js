// The page renews its sections by itself. Without this script it works by reload.
'use strict';

const live = document.getElementById('live');
const waiting = new Map(); // sections that may not change while someone types in them
let clockOffset = 0; // seconds that the server's clock is ahead of this one
let source = null;
let retrySeconds = 1;

function serverNow() {
  return Date.now() / 1000 + clockOffset;
}

function formatAge(seconds) {
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['m', 60]]) {
    if (seconds >= 2 * size) return Math.round(seconds / size) + unit;
  }
  return Math.round(Math.max(0, seconds)) + 's';
}

function tick() {
  const now = serverNow();
  for (const element of document.querySelectorAll('time[data-since], time[data-until]')) {
    const { since, until } = element.dataset;
    const text = formatAge(since === undefined ? until - now : now - since);
    if (element.textContent !== text) element.textContent = text;
  }
}

function show(state, text) {
  if (!live) return;
  live.className = 'live ' + state;
  live.textContent = text;
}

function isTyping(section) {
  const active = document.activeElement;
  return section.contains(active) && active.matches('input, select, textarea');
}

// Replaces a section, and keeps the focus and what was opened in it.
function replace(section, fragment) {
  const focus = section.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const opened = [...section.querySelectorAll('details[open]')].map((element) => element.dataset.key);
  const scrolled = [...section.querySelectorAll('.scroll')].map((element) => element.scrollLeft);
  section.innerHTML = fragment.html;
  section.dataset.version = fragment.version;
  for (const element of section.querySelectorAll('details')) {
    if (opened.includes(element.dataset.key)) element.open = true;
  }
  section.querySelectorAll('.scroll').forEach((element, number) => {
    element.scrollLeft = scrolled[number] || 0;
  });
  if (focus) {
    const again = [...section.querySelectorAll('[data-key]')].find((element) => element.dataset.key === focus);
    if (again) again.focus({ preventScroll: true });
  }
}

// With Redis away the sections are of an earlier moment.
function showConnection() {
  if (document.querySelector('.old')) show('off', 'not live: Redis is away');
  else show('on', 'live');
}

function receive(event) {
  const fragment = JSON.parse(event.data);
  clockOffset = fragment.now - Date.now() / 1000;
  const section = document.getElementById(fragment.name);
  if (!section) return;
  if (isTyping(section)) waiting.set(fragment.name, fragment);
  else replace(section, fragment);
  if (source) showConnection();
  tick();
}

function connect() {
  if (source || document.hidden || !live) return;
  const names = live.dataset.sections.split(',');
  const versions = names.map((name) => document.getElementById(name).dataset.version);
  source = new EventSource(live.dataset.live + '?sections=' + names.join(',') + '&versions=' + versions.join(','));
  source.onopen = () => {
    retrySeconds = 1;
    showConnection();
  };
  source.addEventListener('section', receive);
  source.onerror = () => {
    disconnect();
    show('off', 'no connection to the gateway');
    // Each wait is longer, and of another length on each page: a gateway that starts is not flooded.
    setTimeout(connect, 1000 * retrySeconds * (0.5 + Math.random()));
    retrySeconds = Math.min(30, 2 * retrySeconds);
  };
}

function disconnect() {
  if (source) source.close();
  source = null;
}

const notice = document.getElementById('notice');
let noticeTimer = 0;

function announce(text, isProblem) {
  notice.className = isProblem ? 'notice problem' : 'notice';
  notice.textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { notice.textContent = ''; }, isProblem ? 15000 : 6000);
}

// Acts without leaving the page. What it has changed comes with the next renewal.
async function act(event) {
  const button = event.submitter;
  if (!button || !button.matches('[data-act]') || !live) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target, button));
  button.disabled = true;
  try {
    const answer = await fetch(button.formAction, {
      method: 'POST',
      headers: { accept: 'application/json' },
      body,
    });
    announce((await answer.json()).message, !answer.ok);
  } catch {
    announce('The gateway does not answer.', true);
  }
  button.disabled = false;
  button.focus({ preventScroll: true });
}

const form = document.getElementById('act');
if (form) form.addEventListener('submit', act);
if (notice.textContent) announce(notice.textContent, false);

if (live) {
  clockOffset = Number(document.body.dataset.now) - Date.now() / 1000;
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      disconnect();
      show('paused', 'paused');
    } else connect();
  });
  document.addEventListener('focusout', () => {
    setTimeout(() => {
      for (const [name, fragment] of waiting) {
        const section = document.getElementById(name);
        if (!section || isTyping(section)) continue;
        waiting.delete(name);
        replace(section, fragment);
      }
    });
  });
  setInterval(() => document.hidden || tick(), 1000);
  connect();
}

// A part of a page that is fetched again while the gateway says so.
async function renew(part) {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
      const fresh = answer.ok && new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById(part.id);
      if (fresh && !isTyping(part)) {
        replace(part, { html: fresh.innerHTML, version: 0 });
        if (!fresh.dataset.renew) return;
      }
    } catch {
      // The gateway is away: it is asked again.
    }
  }
  setTimeout(() => renew(part), 1000 * Number(part.dataset.renew));
}

for (const part of document.querySelectorAll('[data-renew]')) {
  setTimeout(() => renew(part), 1000 * Number(part.dataset.renew));
}

// The answer to a question, as it is written, and what happens meanwhile.
function followAnswer(answer) {
  const log = document.getElementById('try-log');
  const events = new EventSource(answer.dataset.events);
  let streamed = '';
  const addLine = (text) => {
    if (log.lastElementChild && log.lastElementChild.textContent === text) return;
    log.append(Object.assign(document.createElement('li'), { textContent: text }));
  };
  const receiveEach = (name, take) => events.addEventListener(name, (event) => take(JSON.parse(event.data)));
  events.onopen = () => {
    streamed = '';
    log.replaceChildren();
  };
  receiveEach('text', (event) => {
    streamed += event.text;
    answer.textContent = streamed;
  });
  receiveEach('reset', (event) => {
    streamed = '';
    answer.textContent = '';
    addLine(event.line);
  });
  receiveEach('line', (event) => addLine(event.line));
  receiveEach('end', (event) => {
    events.close();
    answer.textContent = event.text || streamed;
    answer.setAttribute('aria-busy', 'false');
    addLine(event.line);
    fetch(location.href, { headers: { accept: 'text/html' } }).then((page) => page.text()).then((html) => {
      const fresh = new DOMParser().parseFromString(html, 'text/html');
      const [state, last] = [fresh.getElementById('try-state'), fresh.querySelector('#try-log li')];
      if (state) document.getElementById('try-state').replaceWith(state);
      if (last) log.lastElementChild.replaceWith(last);
    });
  });
}

const answer = document.querySelector('[data-events]');
if (answer) followAnswer(answer);
