async function takeOver() {
  const answer = await fetch("./", { cache: "no-store" });
  if (!answer.ok) throw new Error(await answer.text());
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of ["main", ".kicker", "title"]) document.querySelector(part).replaceWith(fresh.querySelector(part));
}

if (document.body.dataset.version) watch(document.body.dataset.version);
