/* What `dvt export` has written into an ONNX file about the model. ONNX Runtime does not hand it out in browsers. */

const METADATA = 14; // number of the field `metadata_props` in onnx.ModelProto: entries with key (1) and value (2)
const LENGTHS = { 1: 8, 5: 4 }; // bytes of the wire types of fixed length

/** The fields of a protobuf message: number, and the bytes where it has some. Throws where it is no such message. */
function* fields(bytes) {
  let at = 0;
  function number() {
    for (let value = 0, factor = 1; ; factor *= 128) {
      if (at >= bytes.length || factor > 2 ** 63) throw new RangeError("the file ends too early");
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }
  while (at < bytes.length) {
    const tag = number(), type = tag % 8;
    if (type === 0) {
      number();
      continue;
    }
    const length = type === 2 ? number() : LENGTHS[type];
    if (length === undefined || at + length > bytes.length) throw new RangeError("the file ends too early");
    yield { field: Math.floor(tag / 8), content: bytes.subarray(at, at + length) };
    at += length;
  }
}

/** The values of `metadata_props` by key. */
function metadata(bytes) {
  const text = new TextDecoder();
  const found = {};
  for (const { field, content } of fields(bytes)) {
    if (field !== METADATA) continue;
    const entry = {};
    for (const part of fields(content)) entry[part.field] = text.decode(part.content);
    found[entry[1]] = entry[2];
  }
  return found;
}

/** What the page needs to know of a model: {title, height, width, patch, stride, denoised}. Throws an Error in plain words. */
export function describedModel(bytes, name) {
  let about;
  try {
    about = metadata(bytes).dvt;
  } catch {
    throw new Error(`${name} is not a complete ONNX file. Copy or download it again.`);
  }
  if (about === undefined) {
    throw new Error(`${name} was not written by dvt, so its input and outputs are not known here. Make a file with: dvt export out=model.onnx`);
  }
  try {
    const { format, kind, backbone, layer, norm, grid, architecture } = JSON.parse(about);
    const [height, width] = grid.image_hw;
    const sizes = [height, width, grid.patch, grid.stride];
    if (format !== "dvt model" || kind !== "fixed_size" || !sizes.every((size) => Number.isInteger(size) && size > 0)) throw new Error();
    const blocks = [layer].flat().join(", ");
    return { title: `${backbone}, block ${blocks}${norm ? "" : " before the final norm"}`, height, width, patch: grid.patch,
      stride: grid.stride, denoised: Object.keys(architecture).length > 0 };
  } catch {
    throw new Error(`${name} has a description that this page does not understand. Export the model again, with the dvt that this page belongs to.`);
  }
}
