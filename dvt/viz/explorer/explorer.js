"use strict";
/*
 * The explorer page. Shapes: N patches of a map (rows * columns, row-major), K dimensions, C channels; places are x then y
 * in [0, 1], of the rectangle that the maps cover ("frame") or of the whole image. dvt/viz/explorer/data.py documents the data.
 */
const dvtExplorer = (() => {
  const VIEWS = [
    ["similarity", "Similarity"], ["colours", "PCA colours"], ["norm", "Norms"], ["clusters", "Clusters"],
    ["artifact", "Artifact"], ["residual", "Residual"],
  ];
  const MAX_ZOOM = 12;
  const CLICK_PX = 5; // a pointer that moved less than this has clicked
  const element = (id) => document.getElementById(id);
  const settings = JSON.parse(element("settings").textContent);
  /** Name and data of every image; data inside the page are parsed on first use. */
  let sources = settings.images.map((name, number) => ({ name, data: () => JSON.parse(element(`image-${number}`).textContent) }));

  /* ---------------------------------------------------------------- data */

  /** The bytes of a base64 text, as an array of the given type; an array is returned as it is. */
  function decoded(text, Type) {
    if (text instanceof Type) return text;
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return Type === Uint8Array ? bytes : new Type(bytes.buffer);
  }

  /** (N * K) directions of length 1 from int8 (N, K); vectors of norm 0 stay zero. */
  function directions(quantised, offset, step, norms) {
    const size = offset.length;
    const found = new Float32Array(quantised.length);
    for (let n = 0, start = 0; n < norms.length; n++, start += size) {
      if (norms[n] === 0) continue;
      let square = 0;
      for (let k = 0; k < size; k++) {
        const value = offset[k] + step[k] * quantised[start + k];
        found[start + k] = value;
        square += value * value;
      }
      const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
      for (let k = 0; k < size; k++) found[start + k] *= scale;
    }
    return found;
  }

  /** A map or term of the data, with its arrays; `canvas` holds the colours that were painted last. */
  function readMap(stored) {
    return { name: stored.name, rows: stored.rows, columns: stored.columns,
      norms: decoded(stored.norms, Float32Array), colours: decoded(stored.colours, Uint8Array), painted: new Map() };
  }

  /** Everything about one image, read on first use. */
  function readImage(number) {
    const stored = sources[number].data();
    const maps = stored.maps.map(readMap);
    const reduced = stored.basis !== null;
    if (reduced) {
      const offset = decoded(stored.offset, Float32Array), step = decoded(stored.step, Float32Array);
      maps.forEach((map, method) => {
        map.features = directions(decoded(stored.maps[method].features, Int8Array), offset, step, map.norms);
      });
    } else maps.forEach((map, method) => { map.features = decoded(stored.maps[method].features, Float32Array); });
    const photo = stored.photo === null ? null : new Image();
    if (photo) {
      photo.onload = draw;
      photo.src = stored.photo;
    }
    const finest = maps.reduce((best, map) => (map.rows > best.rows ? map : best));
    return { name: stored.name, width: stored.width, height: stored.height, frame: stored.frame, photo, maps, finest,
      size: maps[0].features.length / maps[0].norms.length, channels: stored.channels, error: stored.cosine_error,
      normRange: stored.norm_range, termRange: stored.term_range, terms: stored.terms.map(readMap),
      basis: reduced ? decoded(stored.basis, Int8Array) : null, basisStep: reduced ? decoded(stored.basis_step, Float32Array) : null };
  }

  const read = new Map();
  function imageAt(number) {
    if (!read.has(number)) read.set(number, readImage(number));
    return read.get(number);
  }

  /* ---------------------------------------------------------------- computing */

  /** Index of the patch at a place of the frame. */
  function patchAt(map, [x, y]) {
    const column = Math.min(map.columns - 1, Math.max(0, Math.floor(x * map.columns)));
    const row = Math.min(map.rows - 1, Math.max(0, Math.floor(y * map.rows)));
    return row * map.columns + column;
  }

  /** (N) cosines between a query of length at most 1 and every patch. */
  function cosines(map, query) {
    const size = query.length;
    const found = new Float32Array(map.rows * map.columns);
    for (let n = 0, start = 0; n < found.length; n++, start += size) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += query[k] * map.features[start + k];
      found[n] = sum;
    }
    return found;
  }

  /** (K) direction of one patch. */
  function directionOf(map, patch, size) {
    return map.features.subarray(patch * size, (patch + 1) * size);
  }

  /** A direction of one image, (K), in the dimensions of another image: through the C channels that both share. */
  function carried(query, from, to) {
    const vector = inChannels(query, from);
    return to.basis === null ? vector : inDimensions(vector, to);
  }

  /** (K) to (C). */
  function inChannels(query, from) {
    if (from.basis === null) return query;
    const vector = new Float32Array(from.channels);
    for (let k = 0; k < from.size; k++) {
      const weight = query[k] * from.basisStep[k];
      for (let c = 0; c < from.channels; c++) vector[c] += weight * from.basis[k * from.channels + c];
    }
    return vector;
  }

  /** (C) to (K). */
  function inDimensions(vector, to) {
    const found = new Float32Array(to.size);
    for (let k = 0; k < to.size; k++) {
      let sum = 0;
      for (let c = 0; c < to.channels; c++) sum += vector[c] * to.basis[k * to.channels + c];
      found[k] = sum * to.basisStep[k];
    }
    return found;
  }

  function largest(values) {
    let best = 0;
    for (let n = 1; n < values.length; n++) if (values[n] > values[best]) best = n;
    return best;
  }

  /** Numbers in [0, 1) from a seed (mulberry32). */
  function randomNumbers(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  /** Squared distance between row n of a (N * K) and row m of b. */
  function distance(a, n, b, m, size) {
    let sum = 0;
    for (let k = 0, i = n * size, j = m * size; k < size; k++, i++, j++) sum += (a[i] - b[j]) * (a[i] - b[j]);
    return sum;
  }

  /** Number of the centre nearest to row n of points. */
  function nearestCentre(points, n, centres, count, size) {
    let best = 0, least = Infinity;
    for (let m = 0; m < count; m++) {
      const d = distance(points, n, centres, m, size);
      if (d < least) { least = d; best = m; }
    }
    return best;
  }

  /** (count * K) first centres, far apart (k-means++), of points (N * K). */
  function firstCentres(points, count, size, random) {
    const total = points.length / size;
    const centres = new Float32Array(count * size);
    const nearest = new Float32Array(total).fill(Infinity);
    for (let m = 0, chosen = Math.floor(random() * total); m < count; m++) {
      centres.set(points.subarray(chosen * size, (chosen + 1) * size), m * size);
      let sum = 0;
      for (let n = 0; n < total; n++) {
        nearest[n] = Math.min(nearest[n], distance(points, n, centres, m, size));
        sum += nearest[n];
      }
      let rest = random() * sum;
      for (chosen = 0; chosen < total - 1 && rest >= nearest[chosen]; chosen++) rest -= nearest[chosen];
    }
    return centres;
  }

  /** k-means of points (N * K) from a fixed seed: (count * K) centres. */
  function kMeans(points, count, size) {
    const total = points.length / size;
    const centres = firstCentres(points, count, size, randomNumbers(0));
    let before = null;
    for (let round = 0; round < 25; round++) {
      const labels = new Uint8Array(total);
      const sums = new Float64Array(count * size);
      const members = new Uint32Array(count);
      for (let n = 0; n < total; n++) {
        const m = labels[n] = nearestCentre(points, n, centres, count, size);
        members[m]++;
        for (let k = 0; k < size; k++) sums[m * size + k] += points[n * size + k];
      }
      for (let m = 0; m < count; m++) {
        if (members[m]) for (let k = 0; k < size; k++) centres[m * size + k] = sums[m * size + k] / members[m];
      }
      if (before && labels.every((label, n) => label === before[n])) break;
      before = labels;
    }
    return centres;
  }

  /** Every n-th direction of all maps, about 1500 of each, as points (N * K). */
  function samples(image) {
    const parts = image.maps.map((map) => {
      const total = map.rows * map.columns, every = Math.ceil(total / 1500);
      const part = new Float32Array(Math.ceil(total / every) * image.size);
      for (let n = 0, at = 0; n < total; n += every, at += image.size) part.set(directionOf(map, n, image.size), at);
      return part;
    });
    const points = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) { points.set(part, at); at += part.length; }
    return points;
  }

  /** Labels (N) of every map, of clusters that all maps share, and the share of each label; the largest is 0. */
  function clusters(image, count) {
    image.clustered = image.clustered || new Map();
    if (image.clustered.has(count)) return image.clustered.get(count);
    const centres = kMeans(samples(image), count, image.size);
    const labels = image.maps.map((map) => {
      const found = new Uint8Array(map.rows * map.columns);
      for (let n = 0; n < found.length; n++) found[n] = nearestCentre(map.features, n, centres, count, image.size);
      return found;
    });
    const shares = new Float64Array(count); // every map has the same weight
    for (const found of labels) for (const label of found) shares[label] += 1 / found.length / labels.length;
    const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
    const rank = new Uint8Array(count);
    order.forEach((label, place) => { rank[label] = place; });
    const result = { labels: labels.map((found) => found.map((label) => rank[label])),
      shares: order.map((label) => shares[label]) };
    image.clustered.set(count, result);
    return result;
  }

  /* ---------------------------------------------------------------- colours */

  const tables = Object.fromEntries(
    Object.entries(settings.colour_maps).map(([meaning, text]) => [meaning, decoded(text, Uint8Array)]));
  const clusterColours = settings.cluster_colours.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

  /** A canvas of one pixel per patch; `paint(n, pixels, at)` writes red, green and blue of patch n. */
  function painted(map, key, paint) {
    let canvas = map.painted.get(key);
    if (!canvas) {
      canvas = document.createElement("canvas");
      canvas.width = map.columns;
      canvas.height = map.rows;
      map.painted.set(key, canvas);
    }
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(map.columns, map.rows);
    for (let n = 0; n < map.rows * map.columns; n++) {
      paint(n, pixels.data, 4 * n);
      pixels.data[4 * n + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  /** As `painted`, once: the colours under this key never change. */
  function paintedOnce(map, key, paint) {
    return map.painted.get(key) || painted(map, key, paint);
  }

  /** Writes the colour of a number: `share` in [0, 1] of a table of 256 colours. */
  function writeColour(table, share, pixels, at) {
    const from = 3 * Math.min(255, Math.max(0, Math.round(share * 255)));
    pixels[at] = table[from];
    pixels[at + 1] = table[from + 1];
    pixels[at + 2] = table[from + 2];
  }

  const paintNorms = (map, [low, high]) => paintedOnce(map, "norm", (n, pixels, at) => {
    writeColour(tables.norm, high > low ? Math.log(Math.max(map.norms[n], low) / low) / Math.log(high / low) : 0.5, pixels, at);
  });
  const paintColours = (map) => paintedOnce(map, "colours", (n, pixels, at) => {
    for (let i = 0; i < 3; i++) pixels[at + i] = map.colours[3 * n + i];
  });
  const paintClusters = (map, labels, count) => paintedOnce(map, `clusters ${count}`, (n, pixels, at) => {
    for (let i = 0; i < 3; i++) pixels[at + i] = clusterColours[labels[n]][i];
  });

  /** Cosines as colours: blue, grey and red from -1 to 1, or `range` from dark to light. */
  function paintCosines(map, values, range) {
    const [low, high] = range || [-1, 1];
    const table = range ? tables.similarity : tables.signed;
    return painted(map, "similarity", (n, pixels, at) => writeColour(table, (values[n] - low) / (high - low), pixels, at));
  }

  /* ---------------------------------------------------------------- state */

  const state = {
    image: 0, other: null, view: "similarity", left: null, right: null,
    place: settings.patch, // chosen patch, a place of the frame
    hover: null, // place under the pointer
    opacity: 0.8, split: 0.5, clusters: 5, smooth: false, stretch: true, zoom: 1, centre: [0.5, 0.5],
  };
  const timing = { similarity_ms: [] };
  const image = () => imageAt(state.image);
  const place = () => state.hover || state.place;

  function available(view) {
    return !["artifact", "residual"].includes(view) || image().terms.some((term) => term.name === view);
  }

  /** The chosen place as row and column of the finest map. */
  function chosenPatch() {
    const map = image().finest, patch = patchAt(map, state.place);
    return [Math.floor(patch / map.columns), patch % map.columns];
  }

  /** Choose a patch of the finest map; rows and columns outside it are moved to its edge. */
  function choosePatch(row, column) {
    const map = image().finest;
    const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
    state.place = [(clamp(column, map.columns) + 0.5) / map.columns, (clamp(row, map.rows) + 0.5) / map.rows];
    state.hover = null;
  }

  /** The state as the end of a link; commas and ampersands inside names are escaped. */
  function link() {
    const escaped = (name) => encodeURIComponent(name).replaceAll("%40", "@").replaceAll("%3A", ":");
    const parts = [`image=${escaped(image().name)}`, `patch=${chosenPatch().join(",")}`, `view=${state.view}`,
      `method=${[state.left, state.right].map(escaped).join(",")}`, `clusters=${state.clusters}`];
    if (state.other !== null) parts.push(`with=${escaped(sources[state.other].name)}`);
    return `#${parts.join("&")}`;
  }

  /** The lists of values of a link, by key: "#a=1,2&b=x" gives {a: ["1", "2"], b: ["x"]}. */
  function parsedLink(hash) {
    const plain = (text) => { try { return decodeURIComponent(text); } catch { return ""; } };
    return Object.fromEntries(hash.replace(/^#/, "").split("&").map((part) => {
      const [key, values = ""] = part.split("=", 2);
      return [key, values.split(",").map(plain)];
    }));
  }

  /** Take the state from the end of a link; what is unknown or wrong is left as it is. */
  function restore(hash) {
    const given = { image: [], with: [], patch: [], view: [], method: [], clusters: [], ...parsedLink(hash) };
    const numberOf = ([name]) => { const at = sources.findIndex((source) => source.name === name); return at < 0 ? null : at; };
    state.image = numberOf(given.image) ?? state.image;
    state.other = numberOf(given.with);
    fitState();
    const [row, column] = given.patch.map((text) => (text === "" ? NaN : Number(text)));
    if (Number.isInteger(row) && Number.isInteger(column)) choosePatch(row, column);
    const [wanted] = given.view;
    if (VIEWS.some(([view]) => view === wanted) && available(wanted)) state.view = wanted;
    const names = image().maps.map((map) => map.name);
    const [left, right] = given.method;
    if (names.includes(left)) state.left = left;
    if (names.includes(right)) state.right = right;
    const count = Number(given.clusters[0]);
    if (Number.isInteger(count) && count >= 2 && count <= clusterColours.length) state.clusters = count;
  }

  /** Methods and view that the image has. */
  function fitState() {
    const names = image().maps.map((map) => map.name);
    if (!names.includes(state.left)) state.left = names[0];
    if (!names.includes(state.right)) state.right = names[names.length - 1];
    if (!available(state.view)) state.view = "similarity";
    if (state.other === state.image || state.other >= sources.length) state.other = null;
  }

  /* ---------------------------------------------------------------- layers: what is painted over the image */

  /** Range of stretched colours: from the lowest 2nd percentile of all maps (of a sample of their cosines) to 1. */
  function stretchedRange(all) {
    const lowest = all.map((values) => {
      const every = Math.ceil(values.length / 1000);
      return values.filter((_, n) => n % every === 0).sort()[Math.floor(values.length / every * 0.02)];
    });
    return [Math.min(...lowest, 0.99), 1];
  }

  /** Cosines of all maps to the patch at the place, of this image or of another one. */
  function allCosines(target) {
    const source = image();
    return target.maps.map((map, number) => {
      const from = source.maps[number];
      const query = directionOf(from, patchAt(from, place()), source.size);
      return cosines(map, target === source ? query : carried(query, source, target));
    });
  }

  /** Similarity layers of one image or, on one scale, of two. */
  function similarityLayers(targets) {
    const start = performance.now();
    const all = targets.map(allCosines);
    state.range = state.stretch ? stretchedRange(all.flat()) : null;
    const layers = targets.map((target, number) => target.maps.map((map, method) => ({
      name: map.name, map, canvas: paintCosines(map, all[number][method], state.range) })));
    timing.similarity_ms.push(performance.now() - start);
    timing.similarity_ms.splice(0, timing.similarity_ms.length - 100);
    return layers;
  }

  function clusterLayers(target) {
    const { labels } = clusters(target, state.clusters);
    return target.maps.map((map, number) => ({
      name: map.name, map, canvas: paintClusters(map, labels[number], state.clusters), note: (n) => `cluster ${labels[number][n] + 1}` }));
  }

  const normNote = (map) => (n) => `norm ${formatted(map.norms[n])}`;

  function termLayers(target, name) {
    const map = target.terms.find((term) => term.name === name);
    return [
      { name: "norm", map, canvas: paintNorms(map, target.termRange), note: normNote(map) },
      { name: "direction", map, canvas: paintColours(map) },
    ];
  }

  /** The layers of the view for every image: one per method or, for a term of stage 1, one per way of showing it. */
  function layersOf(targets) {
    return state.view === "similarity" ? similarityLayers(targets) : targets.map(stillLayers);
  }

  /** Layers that do not depend on the patch. */
  function stillLayers(target) {
    switch (state.view) {
      case "colours": return target.maps.map((map) => ({ name: map.name, map, canvas: paintColours(map) }));
      case "norm": return target.maps.map((map) => ({ name: map.name, map, canvas: paintNorms(map, target.normRange), note: normNote(map) }));
      case "clusters": return clusterLayers(target);
      default: return termLayers(target, state.view);
    }
  }

  /* ---------------------------------------------------------------- drawing */

  /** Fit a canvas to its width on the page, at the given aspect; returns its size in CSS pixels. */
  function fitCanvas(canvas, aspect) {
    const width = canvas.parentElement.clientWidth, height = width / aspect;
    const scale = Math.min(3, window.devicePixelRatio || 1);
    const pixels = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    return [width, height];
  }

  /** Place of the image to pixels of its box (x, y, width, height), under zoom and pan. */
  function toPixels(box, [u, v]) {
    return [box.x + box.width * ((u - state.centre[0]) * state.zoom + 0.5),
      box.y + box.height * ((v - state.centre[1]) * state.zoom + 0.5)];
  }

  function toPlace(box, [x, y]) {
    return [((x - box.x) / box.width - 0.5) / state.zoom + state.centre[0],
      ((y - box.y) / box.height - 0.5) / state.zoom + state.centre[1]];
  }

  function framePlace(target, [x, y]) {
    const [left, top, width, height] = target.frame;
    return [left + x * width, top + y * height];
  }

  function drawInBox(context, box, source, [left, top, width, height]) {
    const [x, y] = toPixels(box, [left, top]);
    context.drawImage(source, x, y, width * box.width * state.zoom, height * box.height * state.zoom);
  }

  /** One image in its box: its pixels, then a layer, or two of them left and right of the divider. */
  function drawImage(context, box, target, layers) {
    context.save();
    context.beginPath();
    context.rect(box.x, box.y, box.width, box.height);
    context.clip();
    context.imageSmoothingEnabled = true;
    if (target.photo && target.photo.complete && target.photo.naturalWidth) drawInBox(context, box, target.photo, [0, 0, 1, 1]);
    context.imageSmoothingEnabled = state.smooth;
    context.imageSmoothingQuality = "high";
    context.globalAlpha = target.photo ? state.opacity : 1;
    const edges = layers.length === 2 ? [0, state.split, 1] : [0, 1];
    layers.forEach((layer, number) => {
      context.save();
      context.beginPath();
      context.rect(box.x + box.width * edges[number], box.y, box.width * (edges[number + 1] - edges[number]), box.height);
      context.clip();
      drawInBox(context, box, layer.canvas, target.frame);
      context.restore();
    });
    context.restore();
  }

  /** Outline of a patch, white between dark lines. Returns its centre in pixels. */
  function markPatch(context, box, target, map, patch) {
    const column = patch % map.columns, row = Math.floor(patch / map.columns);
    const corner = toPixels(box, framePlace(target, [column / map.columns, row / map.rows]));
    const end = toPixels(box, framePlace(target, [(column + 1) / map.columns, (row + 1) / map.rows]));
    const centre = [(corner[0] + end[0]) / 2, (corner[1] + end[1]) / 2];
    const half = [Math.max(4, (end[0] - corner[0]) / 2), Math.max(4, (end[1] - corner[1]) / 2)];
    context.save();
    context.beginPath();
    context.rect(box.x, box.y, box.width, box.height);
    context.clip();
    for (const [style, width] of [["#000c", 4], ["#fff", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.strokeRect(centre[0] - half[0], centre[1] - half[1], 2 * half[0], 2 * half[1]);
    }
    context.restore();
    return centre;
  }

  function drawLine(context, from, to) {
    for (const [style, width] of [["#000a", 4.5], ["#fff", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
    }
  }

  function drawStage(layers) {
    const target = image(), canvas = element("stage").firstChild;
    const [width, height] = fitCanvas(canvas, target.width / target.height);
    const chosen = termView() || layers.length === 1 ? layers : [state.left, state.right].map((name) => layers.find((layer) => layer.name === name));
    const context = canvas.getContext("2d"), box = { x: 0, y: 0, width, height };
    drawImage(context, box, target, chosen);
    const right = chosen.length > 1 && place()[0] * target.frame[2] + target.frame[0] > state.split;
    markPatch(context, box, target, chosen[right ? 1 : 0].map, patchAt(chosen[right ? 1 : 0].map, place()));
    canvas.boxes = [box];
  }

  function drawTile(tile, layer) {
    const target = image(), canvas = tile.canvas;
    const [width, height] = fitCanvas(canvas, target.width / target.height);
    const context = canvas.getContext("2d"), box = { x: 0, y: 0, width, height };
    drawImage(context, box, target, [layer]);
    const patch = patchAt(layer.map, place());
    markPatch(context, box, target, layer.map, patch);
    canvas.boxes = [box];
    tile.note.textContent = layer.note ? layer.note(patch) : "";
  }

  /** Two images with the same height side by side, and a line from the patch to its match: a patch, or null. */
  function drawPair(tile, here, there, match) {
    const first = image(), second = imageAt(state.other), gap = 12;
    const aspects = [first.width / first.height, second.width / second.height];
    const whole = tile.canvas.parentElement.clientWidth;
    const height = (whole - gap) / (aspects[0] + aspects[1]);
    fitCanvas(tile.canvas, whole / height);
    const context = tile.canvas.getContext("2d");
    context.clearRect(0, 0, whole, height);
    const boxes = [{ x: 0, y: 0, width: height * aspects[0], height },
      { x: height * aspects[0] + gap, y: 0, width: height * aspects[1], height }];
    drawImage(context, boxes[0], first, [here]);
    drawImage(context, boxes[1], second, [there]);
    const from = markPatch(context, boxes[0], first, here.map, patchAt(here.map, place()));
    if (match !== null) drawLine(context, from, markPatch(context, boxes[1], second, there.map, match));
    tile.canvas.boxes = boxes.slice(0, 1);
  }

  function drawPairs(tiles, layers, others) {
    const all = termView() ? null : allCosines(imageAt(state.other));
    tiles.forEach((tile, number) => {
      const match = all && largest(all[number]);
      drawPair(tile, layers[number], others[number], match);
      tile.note.textContent = all ? `cosine ${signed(all[number][match], 2)}` : "";
    });
  }

  /** Draw every image; called by `draw`, at most once per frame of the screen. */
  function drawNow() {
    const [layers, others] = layersOf(state.other === null ? [image()] : [image(), imageAt(state.other)]);
    const tiles = tilesFor(layers);
    if (others) drawPairs(tiles, layers, others);
    else {
      drawStage(layers);
      if (layers.length > 1) layers.forEach((layer, number) => drawTile(tiles[number], layer));
    }
    describe();
  }

  let waiting = 0;
  function draw() {
    if (!waiting && sources.length) waiting = requestAnimationFrame(() => { waiting = 0; drawNow(); });
  }

  const termView = () => state.view === "artifact" || state.view === "residual";

  /** The tiles of the page, one per layer; they are made anew when the layers have other names. */
  function tilesFor(layers) {
    const holder = element("tiles");
    const key = layers.map((layer) => layer.name).join("\n");
    if (holder.dataset.key !== key) {
      holder.dataset.key = key;
      holder.replaceChildren();
      holder.tiles = layers.map((layer) => makeTile(holder, layer.name));
    }
    holder.className = state.other === null ? "" : "pairs";
    return holder.tiles;
  }

  function makeTile(holder, name) {
    const tile = document.createElement("article"), head = document.createElement("header");
    const title = document.createElement("h2"), note = document.createElement("span");
    tile.className = "tile";
    title.textContent = name;
    note.className = "quiet";
    head.append(title, note);
    const { surface, canvas } = makeSurface(document.createElement("div"));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Features of the image: ${name}`);
    tile.append(head, surface);
    holder.append(tile);
    return { canvas, note };
  }

  /* ---------------------------------------------------------------- legend and texts */

  /** A number with so many digits after the point, and a minus sign as wide as a plus. */
  const signed = (value, digits) => value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
  const formatted = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString());

  /** A horizontal scale of colours with a number at each end. */
  function scale(table, low, high) {
    const canvas = document.createElement("canvas");
    canvas.width = 256;
    canvas.height = 1;
    const context = canvas.getContext("2d"), pixels = context.createImageData(256, 1);
    for (let i = 0; i < 256; i++) {
      writeColour(table, i / 255, pixels.data, 4 * i);
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    return [low, canvas, high];
  }

  function swatches() {
    return clusters(image(), state.clusters).shares.map((share, number) => {
      const swatch = document.createElement("span"), colour = document.createElement("i");
      swatch.className = "swatch";
      colour.style.background = settings.cluster_colours[number];
      swatch.append(colour, `${Math.round(share * 100)} %`);
      return swatch;
    });
  }

  const normScale = (range) => scale(tables.norm, ...range.map(formatted));

  const legends = {
    similarity: () => [
      state.range ? scale(tables.similarity, signed(state.range[0], 2), "1") : scale(tables.signed, "−1", "1"),
      "Cosine similarity to the marked patch; the same scale for all methods."],
    colours: () => [[], "The first three principal components as red, green and blue. Similar colours are similar features, in all methods of this image."],
    norm: () => [normScale(image().normRange), "Norm of the features of each patch; logarithmic, the same scale for all methods."],
    clusters: () => [swatches(), "Clusters by k-means over all methods of this image, with their share of the patches."],
    artifact: () => [normScale(image().termRange), "What each patch position adds: its norm, logarithmic, and its direction in PCA colours, where grey is its mean."],
    residual: () => [normScale(image().termRange), "What neither clean nor artifact explains: its norm, on the scale of the artifact, and its direction in PCA colours, where grey is zero."],
  };

  /** Legend and position, in words. */
  function describe() {
    const [parts, text] = legends[state.view]();
    element("legend-scale").replaceChildren(...parts);
    element("legend-text").textContent = text;
    const map = image().finest, patch = patchAt(map, place());
    element("readout").textContent = `Patch: row ${Math.floor(patch / map.columns)}, column ${patch % map.columns} of ${map.rows} × ${map.columns}`;
  }

  function describeAccuracy() {
    const { size, channels, error, maps } = image();
    const times = timing.similarity_ms.slice().sort((a, b) => a - b);
    const speed = times.length ? ` Similarity of all methods takes ${times[times.length >> 1].toFixed(1)} ms here.` : "";
    element("accuracy-summary").textContent = error ? `Accuracy: cosines within ${error.max.toFixed(3)}` : "Accuracy: features in full";
    const stored = error
      ? `Features of ${channels} channels, reduced by PCA to ${size} dimensions and stored in 8 bits. ` +
        `In ${error.pairs.toLocaleString("en")} pairs of patches, cosines differ from those of the original features by at most ` +
        `${error.max.toFixed(3)}, ${error.mean.toFixed(4)} on average.`
      : `All ${channels} channels of the features in 32 bits, computed in this page.`;
    element("accuracy").textContent =
      `${image().name}: ${maps.map((map) => `${map.name} ${map.rows} × ${map.columns}`).join(", ")}. ${stored}${speed} Made by dvt ${settings.dvt}.`;
  }

  /* ---------------------------------------------------------------- controls */

  function fill(select, entries, value) {
    select.replaceChildren(...entries.map(([key, text]) => new Option(text, key, false, key === String(value))));
    select.value = String(value);
  }

  /** Bring every control to the state, show those that have an effect, and draw. */
  function update() {
    fitState();
    const several = sources.length > 1, paired = state.other !== null;
    const names = sources.map(({ name }, number) => [String(number), name]);
    fill(element("image"), names, state.image);
    fill(element("other"), [["", "none"], ...names.filter(([key]) => key !== String(state.image))], paired ? state.other : "");
    const shown = termView() ? [["norm", "norm"], ["direction", "direction"]] : image().maps.map((map) => [map.name, map.name]);
    fill(element("left"), shown, termView() ? "norm" : state.left);
    fill(element("right"), shown, termView() ? "direction" : state.right);
    for (const side of ["left", "right"]) element(side).disabled = termView();
    const alone = !paired && !termView() && image().maps.length === 1;
    const conditions = { several, compared: !alone, tiled: !alone, pair: paired, single: !paired, linked: !settings.embedded, photo: image().photo !== null,
      clusters: state.view === "clusters", similarity: state.view === "similarity" };
    for (const each of document.querySelectorAll("[data-if]")) each.hidden = !conditions[each.dataset.if];
    document.querySelector(".maps").className = `maps ${paired ? "paired" : alone ? "alone" : ""}`;
    for (const input of element("views").querySelectorAll("input")) {
      input.checked = input.value === state.view;
      input.parentElement.hidden = !available(input.value);
    }
    element("opacity").value = 100 * state.opacity;
    element("divider").value = 100 * state.split;
    element("clusters").value = state.clusters;
    element("cluster-count").value = state.clusters;
    element("smooth").checked = state.smooth;
    element("stretch").checked = state.stretch;
    element("zoom-factor").value = `${Math.round(100 * state.zoom)} %`;
    for (const surface of document.querySelectorAll(".surface")) surface.classList.toggle("zoomed", state.zoom > 1);
    describeAccuracy();
    draw();
  }

  let changed = false; // by the person who looks at the page

  /** Change the state, then the page and its address. */
  function change(values) {
    changed = true;
    Object.assign(state, values);
    update();
    remember();
  }

  /**
   * Show other images, or the same ones with more methods; patch, view and options stay.
   * `images` are data in the layout of data.py, `number` is the one to show. `hash` is a link to a state, which is taken
   * until someone changes the state in the page.
   */
  function show(images, number = 0, hash = "") {
    const rightmost = sources.length > 0 && state.right === image().maps.at(-1).name; // a new last method is shown there
    sources = images.map((data) => ({ name: data.name, data: () => data }));
    read.clear();
    Object.assign(state, { image: number, hover: null, right: rightmost ? null : state.right });
    if (hash && !changed) restore(hash);
    document.body.classList.remove("empty");
    update();
  }

  let remembering = 0;
  function remember() {
    if (settings.embedded) return;
    clearTimeout(remembering); // browsers refuse many changes of the address within a second
    remembering = setTimeout(() => history.replaceState(null, "", link()), 200);
  }

  /** Zoom by a factor; the place under `anchor` (of the image) stays where it is. */
  function zoomBy(factor, anchor = state.centre) {
    const zoom = Math.min(MAX_ZOOM, Math.max(1, state.zoom * factor));
    const ratio = state.zoom / zoom;
    moveTo(state.centre.map((value, axis) => anchor[axis] + (value - anchor[axis]) * ratio), zoom);
  }

  function moveTo(centre, zoom = state.zoom) {
    const margin = 0.5 / zoom;
    change({ zoom, centre: centre.map((value) => Math.min(1 - margin, Math.max(margin, value))) });
  }

  /** Move the chosen patch by rows and columns of the finest map; it stays in sight. */
  function step(rows, columns) {
    const [row, column] = chosenPatch();
    choosePatch(row + rows, column + columns);
    const seen = framePlace(image(), state.place), reach = 0.5 / state.zoom;
    if (seen.some((value, axis) => Math.abs(value - state.centre[axis]) > reach)) moveTo(seen);
    else change({});
  }

  /** Copy the address with the state; where that is refused, show it to be copied by hand. */
  async function copyLink() {
    const address = location.href.replace(/#.*$/, "") + link();
    const notice = element("notice");
    try {
      await navigator.clipboard.writeText(address);
      notice.textContent = "Link copied.";
      setTimeout(() => { notice.textContent = ""; }, 4000);
    } catch {
      const field = document.createElement("input");
      field.readOnly = true;
      field.value = address;
      field.setAttribute("aria-label", "Link to this state");
      notice.replaceChildren(field);
      field.select();
    }
  }

  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function labelTheme() {
    element("theme").textContent = isDark() ? "Light" : "Dark";
  }

  /* ---------------------------------------------------------------- pointer and keys */

  /** A canvas in its surface, which takes the pointer. */
  function makeSurface(surface) {
    const canvas = document.createElement("canvas");
    surface.classList.add("surface");
    surface.append(canvas);
    listen(surface, canvas);
    return { surface, canvas };
  }

  /** Place of the image under the pointer. */
  function pointed(canvas, event) {
    const bounds = canvas.getBoundingClientRect();
    return toPlace(canvas.boxes[0], [event.clientX - bounds.left, event.clientY - bounds.top]);
  }

  /** The place of the frame, or null where the pointer is beside the image. */
  function inFrame(canvas, event) {
    const [u, v] = pointed(canvas, event), [left, top, width, height] = image().frame;
    const bounds = canvas.getBoundingClientRect();
    if (event.clientX - bounds.left > canvas.boxes[0].x + canvas.boxes[0].width || u < 0 || u > 1 || v < 0 || v > 1) return null;
    return [(u - left) / width, (v - top) / height];
  }

  function choose(at) {
    const map = image().finest, patch = patchAt(map, at);
    choosePatch(Math.floor(patch / map.columns), patch % map.columns);
    change({});
  }

  /** Hover and tap choose a patch, a drag moves the zoomed image, two fingers and the wheel zoom. */
  function listen(surface, canvas) {
    const held = new Map(); // pointers that are down, by id: their last position
    let dragged = false; // the gesture is more than a click: a drag, or two fingers
    let pinched = null; // distance of two fingers
    let scrubbed = false; // one finger, or the mouse, has moved over an image that is not zoomed

    surface.addEventListener("pointerdown", (event) => {
      held.set(event.pointerId, [event.clientX, event.clientY]);
      dragged = held.size > 1;
      scrubbed = false;
      pinched = held.size === 2 ? fingers(held).distance : null;
      surface.setPointerCapture(event.pointerId);
    });
    surface.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return hover(canvas, event);
      const moved = [event.clientX - before[0], event.clientY - before[1]];
      if (!dragged && held.size === 1 && Math.hypot(...moved) < CLICK_PX) return;
      dragged = true;
      held.set(event.pointerId, [event.clientX, event.clientY]);
      if (held.size === 2) {
        const { distance, middle } = fingers(held);
        zoomBy(distance / pinched, pointed(canvas, { clientX: middle[0], clientY: middle[1] }));
        pinched = distance;
      } else if (held.size === 1 && state.zoom > 1) {
        const box = canvas.boxes[0];
        moveTo([state.centre[0] - moved[0] / box.width / state.zoom, state.centre[1] - moved[1] / box.height / state.zoom]);
      } else if (held.size === 1 && pinched === null) {
        scrubbed = true;
        hover(canvas, event);
      }
    });
    surface.addEventListener("pointerup", (event) => {
      const at = held.size === 1 && (!dragged || scrubbed) ? inFrame(canvas, event) : null;
      held.delete(event.pointerId);
      if (!held.size) pinched = null;
      if (at) choose(at);
    });
    surface.addEventListener("pointercancel", (event) => {
      held.delete(event.pointerId);
      if (!held.size) pinched = null;
    });
    surface.addEventListener("pointerleave", () => {
      if (held.size || !state.hover) return;
      state.hover = null;
      draw();
    });
    surface.addEventListener("wheel", (event) => {
      if (event.deltaY > 0 && state.zoom === 1) return; // the page scrolls
      event.preventDefault();
      zoomBy(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 300), pointed(canvas, event));
    }, { passive: false });
  }

  function hover(canvas, event) {
    const at = inFrame(canvas, event);
    if (at === null && state.hover === null) return;
    state.hover = at;
    draw();
  }

  /** Distance and middle of two fingers. */
  function fingers(held) {
    const [a, b] = [...held.values()];
    return { distance: Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1])), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  }

  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !sources.length || event.target.closest("select")) return;
    const typing = event.target.closest("input:not([type=checkbox])");
    const view = VIEWS[Number(event.key) - 1];
    if (view && available(view[0])) change({ view: view[0] });
    else if (event.key === "+" || event.key === "=") zoomBy(1.25, framePlace(image(), state.place));
    else if (event.key === "-") zoomBy(0.8, framePlace(image(), state.place));
    else if (event.key === "0") moveTo([0.5, 0.5], 1);
    else if (moves[event.key] && !typing) step(...moves[event.key].map((each) => each * (event.shiftKey ? 5 : 1)));
    else return;
    event.preventDefault();
  }

  function makeViews() {
    VIEWS.forEach(([view, title], number) => {
      const label = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
      Object.assign(input, { type: "radio", name: "view", value: view, title: `Key ${number + 1}` });
      input.addEventListener("change", () => change({ view }));
      text.textContent = title;
      label.append(input, text);
      element("views").append(label);
    });
  }

  function connect() {
    const on = (id, kind, action) => element(id).addEventListener(kind, action);
    on("image", "change", (event) => change({ image: Number(event.target.value), hover: null }));
    on("other", "change", (event) => change({ other: event.target.value === "" ? null : Number(event.target.value) }));
    on("swap", "click", () => change({ image: state.other, other: state.image, hover: null }));
    on("copy", "click", copyLink);
    on("theme", "click", () => {
      document.documentElement.dataset.theme = isDark() ? "light" : "dark";
      labelTheme();
    });
    on("left", "change", (event) => change({ left: event.target.value }));
    on("right", "change", (event) => change({ right: event.target.value }));
    on("divider", "input", (event) => { state.split = event.target.value / 100; draw(); });
    on("opacity", "input", (event) => { state.opacity = event.target.value / 100; draw(); });
    on("clusters", "input", (event) => change({ clusters: Number(event.target.value) }));
    on("smooth", "change", (event) => change({ smooth: event.target.checked }));
    on("stretch", "change", (event) => change({ stretch: event.target.checked }));
    on("zoom-in", "click", () => zoomBy(1.25, framePlace(image(), state.place)));
    on("zoom-out", "click", () => zoomBy(0.8, framePlace(image(), state.place)));
    document.addEventListener("keydown", pressed);
    document.querySelector("footer").addEventListener("toggle", describeAccuracy, true);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", labelTheme);
    window.addEventListener("hashchange", () => {
      if (!sources.length) return;
      restore(location.hash);
      update();
    });
    new ResizeObserver(draw).observe(document.body);
  }

  document.body.classList.toggle("embedded", settings.embedded);
  document.body.classList.toggle("empty", !sources.length);
  makeViews();
  makeSurface(element("stage"));
  connect();
  labelTheme();
  if (sources.length) {
    restore(location.hash);
    update();
  }

  return {
    state, timing, change, show,
    /** Cosines to the patch in row and column of a method, as [rows][columns]; of another image where `other` is given. */
    similarity(method, row, column, other = state.image) {
      const source = image(), target = imageAt(other);
      const from = source.maps.find((map) => map.name === method), map = target.maps.find((each) => each.name === method);
      const query = directionOf(from, row * from.columns + column, source.size);
      const values = cosines(map, target === source ? query : carried(query, source, target));
      return Array.from({ length: map.rows }, (_, r) => Array.from(values.subarray(r * map.columns, (r + 1) * map.columns)));
    },
    /** Labels of every method, for a number of clusters. */
    clusters: (count) => clusters(image(), count).labels.map((labels) => Array.from(labels)),
  };
})();
