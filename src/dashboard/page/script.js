'use strict';
const KEEP = 180;   // points of a history, one a second
const LEAST = 30;   // points that a sparkline has room for at least
const PATIENCE_MS = 10000;
const history = new Map();
let before = null;

const $ = (id) => document.getElementById(id);
const escape = (text) => String(text).replace(/[&<>"']/g, (c) => ({'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;'}[c]));

function short(n) {
  if (n == null || !isFinite(n)) return '–';
  const size = Math.abs(n);
  for (const [unit, name] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (size >= unit) return (n / (name === 'k' ? 1e3 : unit)).toFixed(1) + name;
  }
  return size >= 100 || Number.isInteger(n) ? Math.round(n).toString() : n.toFixed(size >= 10 ? 1 : 2);
}
function span(ms) {
  if (ms == null || !isFinite(ms)) return '–';
  if (ms >= 60000) return (ms / 60000).toFixed(1) + ' min';
  if (ms >= 1000) return (ms / 1000).toFixed(2) + ' s';
  return ms >= 1 ? ms.toFixed(ms >= 100 ? 0 : 1) + ' ms' : (ms * 1000).toFixed(0) + ' µs';
}
const percent = (part) => (part == null ? '–' : (100 * part).toFixed(part < 0.1 ? 1 : 0) + ' %');

function remember(key, value) {
  const points = history.get(key) || [];
  points.push(value == null || !isFinite(value) ? 0 : value);
  if (points.length > KEEP) points.shift();
  history.set(key, points);
  return points;
}
function spark(points, colour, top) {
  const most = Math.max(top || 0, ...points) || 1;
  const room = Math.max(points.length, LEAST);
  const x = (i) => (300 * (i + room - points.length) / (room - 1)).toFixed(1);
  const at = points.map((p, i) => `${x(i)},${(32 - 30 * p / most).toFixed(1)}`);
  return `<svg class="spark" viewBox="0 0 300 34" preserveAspectRatio="none" aria-hidden="true"><polygon points="${x(0)},34 ${at.join(' ')} 300,34" fill="var(--${colour})" opacity=".13"/>` +
    `<polyline points="${at.join(' ')}" fill="none" stroke="var(--${colour})" stroke-width="1.6" vector-effect="non-scaling-stroke" stroke-linejoin="round"/></svg>`;
}
function tile(key, title, value, text, unit, colour, top) {
  return `<div class="card" id="tile-${key}"><h3>${escape(title)}</h3><div class="value">${text}<small>${unit || ''}</small></div>${spark(remember(key, value), colour || 'blue', top)}</div>`;
}
function meter(part, label) {
  const kind = part >= 0.95 ? ' full' : part >= 0.8 ? ' high' : '';
  return `<div class="meter${kind}" role="img" aria-label="${escape(label)} ${percent(part)}"><i style="width:${(100 * Math.min(1, part || 0)).toFixed(1)}%"></i></div>`;
}
const share = (part, label) => `<div class="meter" role="img" aria-label="${escape(label)} ${percent(part)}"><i style="width:${(100 * Math.min(1, part)).toFixed(1)}%"></i></div>`;
const section = (title, note, body) => `<section><h2>${title}${note ? `<small>${note}</small>` : ''}</h2>${body}</section>`;
const rate = (now, then, seconds) => (then == null || !(seconds > 0) ? null : Math.max(0, now - then) / seconds);

// The quantile of what a cumulative histogram gained since the last look, or of all when that is nothing.
function quantile(now, then, q) {
  if (!now || !now.length) return null;
  let counts = now.map(([, count], i) => count - (then && then[i] ? then[i][1] : 0));
  if (!(counts[counts.length - 1] > 0)) counts = now.map(([, count]) => count);
  const total = counts[counts.length - 1];
  if (!(total > 0)) return null;
  const at = counts.findIndex((count) => count >= q * total);
  const low = at > 0 ? now[at - 1][0] : 0, high = now[at][0] == null ? low : now[at][0];
  const under = at > 0 ? counts[at - 1] : 0;
  return 1000 * (low + (high - low) * (counts[at] > under ? (q * total - under) / (counts[at] - under) : 1));
}

function timeline(parts, whole) {
  const bars = parts.filter((p) => p.to > p.from).map((p) =>
    `<i class="${p.kind}" title="${escape(p.name)} ${span(p.to - p.from)}" style="left:${(100 * p.from / whole).toFixed(2)}%;width:${(100 * (p.to - p.from) / whole).toFixed(2)}%"></i>`);
  return `<div class="time" role="img" aria-label="${escape(parts.map((p) => p.name + ' ' + span(p.to - p.from)).join(', '))}">${bars.join('')}</div>`;
}
const legend = '<p class="legend"><span><b class="queue"></b>waiting</span><span><b class="prefill"></b>prefill</span><span><b class="decode"></b>decode</span></p>';

function requestRows(requests) {
  if (!requests.length) return '<p class="empty">None has ended yet.</p>';
  const whole = Math.max(...requests.map((r) => r.total_ms), 1e-3);
  return requests.map((r) => {
    let at = 0;
    const part = (name, kind, length) => ({name, kind, from: at, to: at += length});
    const parts = [part('waiting', 'queue', r.queued_ms), part('prefill', 'prefill', r.prefill_ms), part('decode', 'decode', r.decode_ms)];
    return `<div class="row"><code title="${escape(r.id)}">${escape(r.id)}</code>${timeline(parts, whole)}<span class="end">${span(r.total_ms)} <span class="tag ${r.finish === 'error' ? 'bad' : r.finish === 'abort' ? 'warn' : ''}">${escape(r.finish)}</span></span>` +
      `<span class="why">${r.prompt_tokens} prompt tokens (${r.cached_tokens} cached), ${r.output_tokens} generated, ${span(r.age_ms)} ago</span></div>`;
  }).join('') + legend;
}

function rankCard(rank, then, seconds) {
  const made = rate(rank.generation_tokens, then && then.generation_tokens, seconds);
  const points = remember('rank-' + rank.rank, made);
  const moe = rank.moe, old = then && then.moe;
  const each = (what) => (moe && old && moe.dispatches > old.dispatches ? 1000 * (moe[what] - old[what]) / (moe.dispatches - old.dispatches) : null);
  let rows = `<dt>running</dt><dd>${short(rank.running)}</dd><dt>waiting</dt><dd>${short(rank.waiting)}</dd><dt>cache</dt><dd>${percent(rank.kv_usage)}</dd>`;
  if (moe && moe.dispatches > 0) rows += `<dt>dispatch, a layer</dt><dd>${span(each('dispatch_seconds'))}</dd><dt>combine, a layer</dt><dd>${span(each('combine_seconds'))}</dd>`;
  return `<div class="card rank"><h3><span class="name">rank ${escape(rank.rank)}</span><span class="tag ${rank.healthy ? 'good' : 'bad'}">${rank.healthy ? 'healthy' : 'dead'}</span></h3>` +
    `<div class="value">${short(made)}<small>tokens/s</small></div>${spark(points, 'teal')}${meter(rank.kv_usage, 'cache in use')}<dl>${rows}</dl></div>`;
}

function expertsSection(experts, ranks) {
  if (!experts.rows.length) return ranks.some((r) => r.moe && r.moe.dispatches > 0) ? section('Experts', '', '<div class="card"><p class="empty">No loads are measured; <code>--enable-eplb</code> does.</p></div>') : '';
  const most = Math.max(...experts.rows, 1), mean = experts.rows.reduce((a, b) => a + b, 0) / experts.rows.length;
  const cells = experts.rows.map((rows, i) => `<i title="expert ${i}: ${short(rows)} rows" style="background:rgba(var(--heat),${(0.04 + 0.96 * rows / most).toFixed(3)})"></i>`).join('');
  const sum = experts.rank_rows.reduce((a, b) => a + b, 0) || 1;
  const shares = experts.rank_rows.map((rows, i) => `<span>rank ${i}</span>${share(rows / sum, 'share of rows')}<span>${percent(rows / sum)}</span>`).join('');
  const layers = experts.balancedness.map(([layer, value]) => `<span>layer ${escape(layer)}</span>${share(value, 'balance')}<span>${value.toFixed(2)}</span>`).join('');
  return section('Experts', `rows of the load window, all layers; most ${short(most)}, mean ${short(mean)}`,
    `<div class="two"><div class="card" id="heat"><h3>Heat, an expert each</h3><div class="heat${experts.rows.length <= 64 ? ' few' : ''}" role="img" aria-label="rows by expert, ${experts.rows.length} experts">${cells}</div>` +
    `<p class="legend"><span><b style="background:rgba(var(--heat),.05);border:1px solid var(--line)"></b>none</span><span><b style="background:rgb(var(--heat))"></b>${short(most)} rows</span></p></div>` +
    `<div class="card"><h3>Work by rank</h3><div class="bars">${shares}</div><h3 style="margin-top:14px">Balance by layer, 1 at best</h3><div class="bars">${layers}</div></div></div>`);
}

function waits(ranks, old, seconds) {
  const some = ranks.filter((r) => r.moe && Object.keys(r.moe.wait_seconds).length);
  if (some.length < 2 || !old) return '';
  const peers = ranks.map((r) => r.rank);
  const cell = (r, peer) => {
    const then = old.find((o) => o.rank === r.rank);
    const waited = then ? ((r.moe.wait_seconds[peer] || 0) - ((then.moe && then.moe.wait_seconds[peer]) || 0)) / seconds : 0;
    return `<td style="background:rgba(var(--heat),${Math.min(0.8, Math.max(0, waited)).toFixed(3)})">${percent(Math.max(0, waited))}</td>`;
  };
  return section('Waits between ranks', 'share of time that a row waits for a column', `<div class="card matrix"><table><tr><th></th>${peers.map((p) => `<th>${escape(p)}</th>`).join('')}</tr>` +
    some.map((r) => `<tr><th>${escape(r.rank)}</th>${peers.map((p) => cell(r, p)).join('')}</tr>`).join('') + '</table></div>');
}

function engine(now, old, seconds) {
  const sum = (list, what) => list.reduce((a, r) => a + r[what], 0);
  const speed = (what) => (old ? rate(sum(now.ranks, what), sum(old.ranks, what), seconds) : null);
  const made = speed('generation_tokens'), read = speed('prompt_tokens');
  const cache = now.ranks.length ? sum(now.ranks, 'kv_usage') / now.ranks.length : 0;
  const first = quantile(now.latency.ttft, old && old.latency.ttft, 0.9), next = quantile(now.latency.itl, old && old.latency.itl, 0.9);
  const dead = now.ranks.filter((r) => !r.healthy).length + now.deployment.missing.length;
  const queries = sum(now.ranks, 'prefix_queries'), hits = sum(now.ranks, 'prefix_hits');
  $('title').textContent = now.model;
  $('subtitle').textContent = `engine ${now.version}, ${now.ranks.length} ${now.ranks.length === 1 ? 'rank' : 'ranks'}, up ${span(1000 * now.uptime_seconds)}`;
  state(now.draining ? 'draining' : dead ? `${dead} of ${now.deployment.ranks} ranks missing` : 'healthy', dead || now.draining ? 'warn' : 'good');
  return section('Now', '', '<div class="grid four">' +
    tile('made', 'Generated', made, short(made), 'tokens/s', 'teal') + tile('read', 'Prompts', read, short(read), 'tokens/s', 'blue') +
    tile('running', 'Running', sum(now.ranks, 'running'), short(sum(now.ranks, 'running')), 'sequences', 'blue') +
    tile('waiting', 'Waiting', sum(now.ranks, 'waiting'), short(sum(now.ranks, 'waiting')), 'sequences', 'amber') +
    tile('cache', 'Cache in use', cache, percent(cache), '', 'violet', 1) +
    tile('hits', 'Prefix cache', queries ? hits / queries : 0, percent(queries ? hits / queries : null), 'found there', 'violet', 1) +
    tile('ttft', 'First token, P90', first, span(first), '', 'amber') + tile('itl', 'Next token, P90', next, span(next), '', 'amber') + '</div>') +
    section('Ranks', '', `<div class="grid">${now.ranks.map((r) => rankCard(r, old && old.ranks.find((o) => o.rank === r.rank), seconds)).join('')}</div>`) +
    expertsSection(now.experts, now.ranks) + waits(now.ranks, old && old.ranks, seconds) +
    section('Requests', 'newest first', `<div class="card">${requestRows(now.requests.slice(0, 16))}</div>`);
}

function endpointCard(e) {
  const points = remember('endpoint-' + e.name, e.running);
  const tag = e.usable ? `<span class="tag good">${escape(e.role || 'decode')}</span>` : '<span class="tag bad">gone</span>';
  return `<div class="card endpoint"><h3><span class="name">${escape(e.name)}</span>${tag}</h3><div class="value">${short(e.running)}<small>running</small></div>${spark(points, 'teal')}` +
    `${meter(e.kv_usage, 'cache in use')}<dl><dt>waiting</dt><dd>${short(e.waiting)}</dd><dt>cache</dt><dd>${percent(e.kv_usage)}</dd>${e.chosen > 0 ? `<dt>chosen</dt><dd>${short(e.chosen)} ×</dd>` : ''}</dl></div>`;
}

function reason(r) {
  const d = r.decision;
  if (!d) return escape(r.why || '');
  if (d.refusal) return escape(d.refusal);
  const profiles = d.profiles.filter((p) => p.endpoint).map((p) => {
    const parts = p.scores.map((s) => `${escape(s.scorer)} ${s.score.toFixed(2)}${s.weight === 1 ? '' : ' × ' + short(s.weight)}`).join(' + ');
    return `<b>${escape(p.profile)} on ${escape(p.endpoint)}</b>: ${parts ? parts + ' = ' + p.total.toFixed(2) : 'the only way'}` + (p.next ? `; next ${escape(p.next.endpoint)} ${p.next.total.toFixed(2)}` : '');
  });
  const divided = d.disaggregation ? `; prefill apart: ${escape(d.disaggregation.outcome)}${d.disaggregation.reason ? ' (' + escape(d.disaggregation.reason) + ')' : ''}` : '';
  return profiles.join('; ') + divided + (r.why ? `; <b>${escape(r.why)}</b>` : '');
}

function journeyRows(journeys) {
  if (!journeys.length) return '<p class="empty">None has ended yet.</p>';
  const whole = Math.max(...journeys.map((r) => r.total_ms), 1e-3);
  return journeys.map((r) => {
    const parts = [{name: 'waiting', kind: 'queue', from: 0, to: r.decided_ms}].concat(r.legs.map((l) => ({name: `${l.what} on ${l.endpoint}`, kind: l.what, from: l.begin_ms, to: l.end_ms})));
    const kind = r.status >= 500 ? 'bad' : r.status >= 400 ? 'warn' : 'good';
    return `<div class="row"><code title="${escape(r.id)}">${escape(r.id)}</code>${timeline(parts, whole)}<span class="end">${span(r.total_ms)} <span class="tag ${kind}">${r.status}</span></span><span class="why">${reason(r)}</span></div>`;
  }).join('') + legend;
}

function router(now, old, seconds) {
  const speed = (what) => (old ? rate(now.totals[what], old.totals[what], seconds) : null);
  const requests = speed('requests'), errors = speed('errors');
  const first = quantile(now.latency.ttft, old && old.latency.ttft, 0.9), decide = quantile(now.latency.decision, old && old.latency.decision, 0.9);
  $('title').textContent = 'Router';
  $('subtitle').textContent = `version ${now.version}, ${now.endpoints.filter((e) => e.usable).length} of ${now.endpoints.length} endpoints, up ${span(1000 * now.uptime_seconds)}`;
  state(now.ready ? 'ready' : now.reasons.join('; '), now.ready ? 'good' : 'bad');
  return section('Now', '', '<div class="grid four">' +
    tile('requests', 'Requests', requests, short(requests), '/s', 'blue') + tile('flying', 'In flight', now.totals.running, short(now.totals.running), '', 'teal') +
    tile('held', 'Held back', now.totals.queued, short(now.totals.queued), 'in flow control', 'amber') + tile('errors', 'Errors', errors, short(errors), '/s', 'red') +
    tile('first', 'First byte, P90', first, span(first), '', 'amber') + tile('decide', 'Decision, P90', decide, span(decide), '', 'violet') +
    tile('retries', 'Tried elsewhere', speed('retries'), short(now.totals.retries), 'in all', 'red') + tile('prefills', 'Prefilled apart', speed('prefills'), short(now.totals.prefills), 'in all', 'violet') + '</div>') +
    section('Endpoints', '', `<div class="grid">${now.endpoints.slice(0, 64).map(endpointCard).join('')}</div>`) +
    section('Decisions', 'newest first; the sum of score × weight decides', `<div class="card">${journeyRows(now.journeys.slice(0, 20))}</div>`);
}

function state(text, kind) {
  $('state').textContent = text;
  $('state').className = 'state ' + kind;
}

async function look() {
  try {
    const answer = await fetch(location.origin + '/dashboard/data', {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)});
    if (!answer.ok) throw new Error('the server answered ' + answer.status);
    const now = await answer.json();
    const seconds = before ? (now.now_ms - before.now_ms) / 1000 : 0;
    $('main').innerHTML = (now.kind === 'router' ? router : engine)(now, before, seconds);
    document.title = $('title').textContent + ' – Braid';
    before = now;
  } catch (error) {
    state(error.message, 'bad');
  }
  setTimeout(look, 1000);
}
look();
