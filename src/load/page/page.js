// Reads plots out where a pointer is, and saves the report. The page is whole without it.
"use strict";
for (const svg of document.querySelectorAll("svg[data-read]")) {
  const points = JSON.parse(svg.dataset.read);
  const read = svg.closest("figure").querySelector(".read");
  if (!points.length) continue;
  const cursor = document.createElementNS(svg.namespaceURI, "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", svg.dataset.top);
  cursor.setAttribute("y2", svg.dataset.bottom);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    let nearest = points[0];
    for (const point of points) if (Math.abs(point[0] - x) < Math.abs(nearest[0] - x)) nearest = point;
    cursor.setAttribute("x1", nearest[0]);
    cursor.setAttribute("x2", nearest[0]);
    svg.append(cursor);
    read.textContent = nearest[1];
  });
  svg.addEventListener("pointerleave", () => {
    cursor.remove();
    read.textContent = "";
  });
}
const save = document.getElementById("save");
save.hidden = false;
save.addEventListener("click", () => {
  const text = document.getElementById("report").textContent.trim() + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "tidegate-bench.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
