/* Antialiased bicubic resizing, the one of `Backbone.preprocess`: PyTorch's interpolate(mode="bicubic", antialias=True). */

const A = -0.5; // of the cubic, as in PyTorch and Pillow when they antialias

function cubic(x) {
  const t = Math.abs(x);
  if (t < 1) return ((A + 2) * t - (A + 3)) * t * t + 1;
  if (t < 2) return (((t - 5) * t + 8) * t - 4) * A;
  return 0;
}

/** For each of `to` samples along a side of `from` samples: the first that it reads, and the weights from there on. */
export function taps(from, to) {
  const scale = from / to, stretch = Math.max(1, scale), support = 2 * stretch;
  return Array.from({ length: to }, (_, i) => {
    const centre = scale * (i + 0.5);
    const first = Math.max(0, Math.trunc(centre - support + 0.5)), end = Math.min(from, Math.trunc(centre + support + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, j) => cubic((first + j - centre + 0.5) / stretch));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/**
 * (3, height, width) RGB in [0, 1], resized from an image of which `rows(top, bottom)` gives RGBA bytes. Rows are asked for
 * in order and in bands, so that a large image is never in memory as floats.
 */
export function resized(rows, [fromWidth, fromHeight], [width, height], band = 256) {
  const across = taps(fromWidth, width);
  const narrow = new Float32Array(3 * fromHeight * width); // (fromHeight, width, 3)
  for (let top = 0, at = 0; top < fromHeight; top += band) {
    const bottom = Math.min(fromHeight, top + band), bytes = rows(top, bottom);
    for (let y = 0; y < bottom - top; y++) {
      for (const { first, weights } of across) {
        let red = 0, green = 0, blue = 0;
        for (let j = 0, from = 4 * (y * fromWidth + first); j < weights.length; j++, from += 4) {
          red += weights[j] * bytes[from];
          green += weights[j] * bytes[from + 1];
          blue += weights[j] * bytes[from + 2];
        }
        narrow[at++] = red / 255;
        narrow[at++] = green / 255;
        narrow[at++] = blue / 255;
      }
    }
  }
  const found = new Float32Array(3 * height * width);
  taps(fromHeight, height).forEach(({ first, weights }, y) => {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let j = 0; j < weights.length; j++) sum += weights[j] * narrow[3 * ((first + j) * width + x) + channel];
        found[(channel * height + y) * width + x] = Math.min(1, Math.max(0, sum)); // the cubic overshoots at edges
      }
    }
  });
  return found;
}
