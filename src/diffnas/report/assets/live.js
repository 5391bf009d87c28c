// Asks where the page came from whether the run has moved on; takeOver, of each kind of page, then takes what is new.
async function watch(version) {
  try {
    const now = await (await fetch("version", { cache: "no-store" })).text();
    if (now !== version) await takeOver();
    version = now;
    tellLive("live");
  } catch {
    tellLive("no longer watched");
  }
  setTimeout(watch, 1500, version);
}

function tellLive(word) {
  const live = document.getElementById("live");
  live.textContent = word;
  live.classList.toggle("lost", word !== "live");
}
