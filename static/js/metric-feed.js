// The socket's messages come as this element's attribute: a fragment like every other, and no script in it.
class MetricFeed extends HTMLElement {
  static observedAttributes = ["points", "cursor"];
  #waiting = false;

  // A morph sets one attribute after the other: the message is whole when it is done.
  attributeChangedCallback() {
    if (this.#waiting || !this.getAttribute("points")) return;
    this.#waiting = true;
    queueMicrotask(() => {
      this.#waiting = false;
      const points = JSON.parse(this.getAttribute("points"));
      const cursor = Number(this.getAttribute("cursor"));
      dispatchEvent(new CustomEvent("points", { detail: { points, cursor, reset: this.hasAttribute("reset") } }));
    });
  }
}

customElements.define("metric-feed", MetricFeed);
