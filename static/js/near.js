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
