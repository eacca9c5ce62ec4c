// A list of any length: only the rows in view exist, and pages are fetched as they are needed.

import { isAbort } from "./api.js";
import { element, say } from "./common.js";

const PAGE = 100, KEPT = 30, MOST_PX = 8_000_000; // browsers cannot scroll over more

export class VirtualList {
  // fetch(offset, limit, signal) -> {total, items}; row(item, index) -> element
  constructor(box, { fetch, row, choose, height = 52, empty = "nothing here", total = () => {} }) {
    Object.assign(this, { box, fetch, row, choose, height, empty, told: total });
    this.inner = element("div", "rows");
    this.note = element("p", "empty");
    this.note.setAttribute("role", "listitem");
    box.append(this.inner, this.note);
    this.pages = new Map();
    this.pending = new Map();
    this.total = 0;
    this.chosen = -1;
    this.made = new Map();
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    box.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  // everything anew, from the first row; what stands there stays until the answer comes
  reset() {
    this.abort();
    return this.load(0, "fresh");
  }

  // there may be more rows; those in view are fetched again, and who was at the end stays there
  async refresh({ toEnd = false } = {}) {
    const atEnd = toEnd || this.box.scrollTop + this.box.clientHeight >= this.inner.offsetHeight - this.height;
    const before = this.total, page = Math.floor(this.first() / PAGE);
    this.abort();
    await this.load(page, "again");
    for (const n of [...this.pages.keys()]) if (n !== page) this.pages.delete(n);
    if (atEnd && before && this.total > before) this.box.scrollTop = this.inner.offsetHeight;
    this.draw();
  }

  abort() {
    for (const request of this.pending.values()) request.abort();
    this.pending.clear();
  }

  first() { return Math.max(0, Math.floor(this.box.scrollTop / this.scaleY())); }

  // px a row; less than its height where the whole would be too tall for the browser
  scaleY() { return Math.min(this.height, MOST_PX / Math.max(1, this.total)); }

  async load(page, again = "") {
    if (page < 0 || (!again && (this.pages.has(page) || this.pending.has(page)))) return;
    const request = new AbortController();
    this.pending.set(page, request);
    try {
      const found = await this.fetch(page * PAGE, PAGE, request.signal);
      if (this.pending.get(page) !== request) return;
      if (again === "fresh") {
        this.pages.clear();
        this.chosen = -1;
        this.box.scrollTop = 0;
      }
      this.pages.set(page, found.items);
      while (this.pages.size > KEPT) this.pages.delete(this.pages.keys().next().value);
      this.total = Math.min(found.total, found.most ?? found.total);
      this.told(found.total, found.most);
      this.note.textContent = found.total ? "" : this.empty;
      this.inner.style.height = `${this.total * this.scaleY()}px`;
      if (again) { for (const row of this.made.values()) row.remove(); this.made.clear(); }
      this.draw();
    } catch (error) {
      if (!isAbort(error)) say(error.message, true);
    } finally {
      if (this.pending.get(page) === request) this.pending.delete(page);
    }
  }

  item(index) { return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE]; }

  draw() {
    if (!this.box.clientHeight) return;
    const from = Math.max(0, this.first() - 4), to = Math.min(this.total, this.first() + Math.ceil(this.box.clientHeight / this.height) + 5);
    for (let page = Math.floor(from / PAGE); page * PAGE < to; page += 1) this.load(page);
    for (const [index, row] of this.made) if (index < from || index >= to) { row.remove(); this.made.delete(index); }
    for (let index = from; index < to; index += 1) {
      const item = this.item(index);
      if (!item || this.made.has(index)) continue;
      const row = this.row(item, index);
      row.setAttribute("role", "listitem");
      row.setAttribute("aria-setsize", this.total);
      row.setAttribute("aria-posinset", index + 1);
      row.classList.toggle("chosen", index === this.chosen);
      row.style.height = `${this.height}px`;
      row.style.transform = `translateY(${this.top(index)}px)`;
      row.addEventListener("click", () => this.pick(index));
      this.made.set(index, row);
      this.inner.append(row);
    }
  }

  top(index) {
    const y = index * this.scaleY();
    // squeezed lists still show whole rows
    return this.scaleY() < this.height ? this.box.scrollTop + (index - this.box.scrollTop / this.scaleY()) * this.height : y;
  }

  mark(index) {
    this.chosen = index;
    for (const [n, row] of this.made) row.classList.toggle("chosen", n === index);
  }

  show(index) {
    const y = index * this.scaleY(), view = this.box.clientHeight;
    if (y < this.box.scrollTop) this.box.scrollTop = y;
    else if (y + this.height > this.box.scrollTop + view) this.box.scrollTop = y + this.height - view;
  }

  async pick(index) {
    if (index < 0 || index >= this.total) return;
    this.mark(index);
    this.show(index);
    await this.load(Math.floor(index / PAGE));
    const item = this.item(index);
    if (item) this.choose(item, index);
  }

  key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (by) this.pick(Math.min(this.total - 1, Math.max(0, this.chosen + by)));
    else if (event.key === "Home") this.pick(0);
    else if (event.key === "End") this.pick(this.total - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
