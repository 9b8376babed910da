// Tokens of a text that can be pointed at, with a pointer or the arrow keys.

/** The tokens in `place` have their numbers in `data-index`; `tell` hears that of the one pointed at. */
export function pointable(place, tell) {
  const point = (index) => {
    const token = place.querySelector(`[data-index="${index}"]`);
    if (token === null) return;
    place.querySelector(".pointed")?.classList.remove("pointed");
    token.classList.add("pointed");
    tell(index);
  };
  place.addEventListener("pointerover", ({ target }) => {
    if (target.dataset.index !== undefined) point(Number(target.dataset.index));
  });
  place.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const pointed = place.querySelector(".pointed");
    point(pointed === null ? 0 : Number(pointed.dataset.index) + by);
    place.querySelector(".pointed")?.scrollIntoView({ block: "nearest" });
  });
}
