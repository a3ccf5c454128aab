// What stands further down gets its script when somebody gets there.
export function near(element, load) {
  if (!element) return;
  const nearby = new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    nearby.disconnect();
    load();
  }, { rootMargin: "400px" });
  nearby.observe(element);
}

// What is mostly empty, when something stands in it.
export function filled(element, load) {
  const watch = new MutationObserver(look);
  function look() {
    if (!element.firstElementChild) return;
    watch.disconnect();
    load(element);
  }
  watch.observe(element, { childList: true });
  look();
}
