/*
 * Features as an image of the explorer: directions, norms and PCA colours, as dvt/viz/explorer/data.py and dvt/viz/colours.py
 * compute them. Shapes: N patches of a map, C channels.
 */

const NORM_SPAN = 100; // largest ratio of norms on the colour scale
const FLOOR = 1e-5; // smallest colour range, as a share of the root mean square of the features
const BLOCK = 12; // directions that are iterated to find the first three
const ROUNDS = 60;

/** What `dvtExplorer.show` takes, without name and photograph. `outputs` are {name, rows, columns, values (N * C)}. */
export function explorerImage(outputs, model) {
  const channels = outputs[0].values.length / (outputs[0].rows * outputs[0].columns);
  const basis = pcaBasis(outputs.map((each) => each.values), channels);
  const maps = outputs.map(({ name, rows, columns, values }) => {
    const { norms, features } = normsAndDirections(values, channels);
    return { name, rows, columns, norms, features, colours: pcaColours(values, channels, basis) };
  });
  const highest = Math.max(2 ** -126, ...maps.map((map) => extent(map.norms)[1]));
  const lowest = Math.min(...maps.map((map) => extent(map.norms)[0]));
  return { format: "dvt explorer", version: 1, channels, frame: frame(model), maps, terms: [], basis: null, cosine_error: null,
    norm_range: [Math.max(highest / NORM_SPAN, lowest), highest], term_range: null };
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** Left, top, width and height of what the patches cover, as shares of the image: less than 1 where they overlap. */
function frame({ height, width, patch, stride }) {
  const margin = (patch - stride) / 2, covered = (size) => (Math.floor((size - patch) / stride) + 1) * stride;
  return [margin / width, margin / height, covered(width) / width, covered(height) / height];
}

/** Norms (N), and directions (N * C) of length 1; vectors of zeros stay zero. */
function normsAndDirections(values, channels) {
  const norms = new Float32Array(values.length / channels), features = new Float32Array(values.length);
  for (let n = 0; n < norms.length; n++) {
    const start = n * channels;
    let square = 0;
    for (let c = 0; c < channels; c++) square += values[start + c] ** 2;
    norms[n] = Math.sqrt(square);
    const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let c = 0; c < channels; c++) features[start + c] = values[start + c] * scale;
  }
  return { norms, features };
}

/* ---------------------------------------------------------------- principal components */

/** Mean (C), the first three directions of all vectors of all maps, and the range of projections that has colours. */
function pcaBasis(maps, channels) {
  const total = maps.reduce((sum, values) => sum + values.length, 0) / channels;
  const mean = new Float64Array(channels);
  let square = 0;
  for (const values of maps) {
    for (let i = 0; i < values.length; i++) {
      mean[i % channels] += values[i] / total;
      square += values[i] ** 2;
    }
  }
  const components = leading(covariance(maps, mean, channels), channels);
  const projections = components.map((component) => {
    const offset = dot(component, mean);
    return Float64Array.from(maps.flatMap((values) => Array.from(projected(values, component, offset)))).sort();
  });
  const floor = Math.max(FLOOR * Math.sqrt(square / (total * channels)), 2 ** -126);
  const ranges = projections.map((sorted) => {
    const low = quantile(sorted, 0.01), high = quantile(sorted, 0.99), missing = Math.max(0, floor - (high - low)) / 2;
    return [low - missing, high + missing];
  });
  return { mean, components, ranges };
}

function dot(a, b) {
  let sum = 0;
  for (let c = 0; c < a.length; c++) sum += a[c] * b[c];
  return sum;
}

/** (N) projections of vectors on a direction, less an offset. */
function projected(values, direction, offset) {
  const channels = direction.length, found = new Float64Array(values.length / channels);
  for (let n = 0, start = 0; n < found.length; n++, start += channels) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += direction[c] * values[start + c];
    found[n] = sum - offset;
  }
  return found;
}

/** (C * C), not divided by the number of vectors. */
function covariance(maps, mean, channels) {
  const found = new Float64Array(channels * channels), centred = new Float64Array(channels);
  for (const values of maps) {
    for (let start = 0; start < values.length; start += channels) {
      for (let c = 0; c < channels; c++) centred[c] = values[start + c] - mean[c];
      for (let a = 0; a < channels; a++) {
        const weight = centred[a], row = a * channels;
        for (let b = 0; b <= a; b++) found[row + b] += weight * centred[b];
      }
    }
  }
  for (let a = 0; a < channels; a++) for (let b = 0; b < a; b++) found[b * channels + a] = found[a * channels + b];
  return found;
}

/** The three eigenvectors (C) of the largest eigenvalues, by subspace iteration; the largest entry of each is positive. */
function leading(matrix, channels) {
  const count = Math.min(BLOCK, channels);
  let seed = 1;
  const random = () => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return seed / 2 ** 32 - 0.5; };
  let vectors = Array.from({ length: count }, () => Float64Array.from({ length: channels }, random));
  orthonormalise(vectors);
  for (let round = 0; round < ROUNDS; round++) {
    vectors = vectors.map((vector) => times(matrix, vector));
    orthonormalise(vectors);
  }
  const images = vectors.map((vector) => times(matrix, vector));
  const inside = vectors.map((a) => images.map((b) => dot(a, b))); // the matrix within the subspace
  return eigenvectors(inside).slice(0, 3).map((weights) => {
    const found = new Float64Array(channels);
    weights.forEach((weight, k) => { for (let c = 0; c < channels; c++) found[c] += weight * vectors[k][c]; });
    const largest = found.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    return largest < 0 ? found.map((value) => -value) : found;
  });
}

function times(matrix, vector) {
  const found = new Float64Array(vector.length);
  for (let a = 0, at = 0; a < vector.length; a++) {
    let sum = 0;
    for (let b = 0; b < vector.length; b++) sum += matrix[at++] * vector[b];
    found[a] = sum;
  }
  return found;
}

/** Gram-Schmidt, twice against rounding; a vector that depends on those before it becomes zero. */
function orthonormalise(vectors) {
  vectors.forEach((vector, k) => {
    const before = Math.sqrt(dot(vector, vector));
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < k; j++) {
        const weight = dot(vector, vectors[j]);
        for (let c = 0; c < vector.length; c++) vector[c] -= weight * vectors[j][c];
      }
    }
    const length = Math.sqrt(dot(vector, vector)), scale = length > 1e-12 * before ? 1 / length : 0;
    for (let c = 0; c < vector.length; c++) vector[c] *= scale;
  });
}

/** Eigenvectors of a small symmetric matrix by decreasing eigenvalue: Jacobi rotations. */
function eigenvectors(matrix) {
  const size = matrix.length, a = matrix.map((row) => [...row]);
  const vectors = a.map((_, i) => a.map((_, j) => (i === j ? 1 : 0))); // rows
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) {
        if (a[p][q] === 0) continue;
        const angle = 0.5 * Math.atan2(2 * a[p][q], a[q][q] - a[p][p]), c = Math.cos(angle), s = Math.sin(angle);
        for (let k = 0; k < size; k++) [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
        for (let k = 0; k < size; k++) [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
        for (let k = 0; k < size; k++) {
          [vectors[p][k], vectors[q][k]] = [c * vectors[p][k] - s * vectors[q][k], s * vectors[p][k] + c * vectors[q][k]];
        }
      }
    }
  }
  return vectors.map((vector, k) => ({ vector, value: a[k][k] })).sort((x, y) => y.value - x.value).map(({ vector }) => vector);
}

/** Of sorted numbers, between the two nearest. */
function quantile(sorted, share) {
  const at = share * (sorted.length - 1), below = Math.floor(at), above = Math.min(sorted.length - 1, below + 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}

/** (3 * N) bytes: the first three components as red, green and blue. */
function pcaColours(values, channels, { mean, components, ranges }) {
  const colours = new Uint8Array(3 * (values.length / channels)).fill(128);
  components.forEach((component, k) => {
    const [low, high] = ranges[k];
    projected(values, component, dot(component, mean)).forEach((value, n) => {
      colours[3 * n + k] = Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
    });
  });
  return colours;
}
