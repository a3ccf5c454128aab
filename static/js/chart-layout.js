// How this recipe's runs are looked at is remembered for the next visit.

export function keep({ section, smoothing, scale, axis, columns, picked, chosen }) {
  const body = new URLSearchParams({ smoothing, scale, axis, columns });
  if (picked) body.set("chosen", "1");
  for (const name of picked ? chosen : []) body.append("charts", name);
  const headers = JSON.parse(document.body.getAttribute("hx-headers:inherited"));
  return fetch(section.dataset.keep, { method: "POST", body, headers, keepalive: true });
}
