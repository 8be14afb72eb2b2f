/* An image file that someone gives: what it is, what is wrong with it, and its pixels. Errors are in plain words. */

const MAX_SIDE = 16384; // pixels; browsers draw no larger ones

/**
 * Read an image file, upright by its EXIF orientation, the first frame of an animation; colour profiles are not applied.
 * Returns {bitmap, photo, notes}: the pixels, an address of a picture to look at, and sentences about what was done.
 */
export async function readImageFile(file, maxPixels) {
  if (file.size === 0) throw new Error(`${file.name} is empty (0 bytes). Choose an image.`);
  const [width, height] = await sizeOf(file);
  if (width * height > maxPixels || Math.max(width, height) > MAX_SIDE) {
    throw new Error(`${file.name} has ${width} × ${height} pixels, and this page takes at most ${(maxPixels / 1e6).toFixed(0)} megapixels ` +
      `and ${MAX_SIDE} pixels a side. Make it smaller.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(`${file.name} is damaged, or an image of a kind whose pixels this browser does not read. Save it as JPEG or PNG.`);
  }
  return { bitmap, photo: await photoOf(bitmap), notes: await notesOn(file, bitmap) };
}

/** Width and height, before the pixels are decoded. */
async function sizeOf(file) {
  const address = URL.createObjectURL(file), image = new Image();
  try {
    await new Promise((done, failed) => {
      image.onload = done;
      image.onerror = failed;
      image.src = address;
    });
  } catch {
    throw new Error(`${file.name} is not an image that this browser reads. Choose a JPEG, PNG, WebP, GIF or AVIF file${/\.hei[cf]$/i.test(file.name) ? "; HEIC images must be converted" : ""}.`);
  } finally {
    URL.revokeObjectURL(address);
  }
  return [image.naturalWidth, image.naturalHeight];
}

/** Address of a JPEG of at most 1600 pixels a side, transparency on white. */
async function photoOf(bitmap) {
  const shrink = Math.min(1, 1600 / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * shrink)), Math.max(1, Math.round(bitmap.height * shrink)));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return URL.createObjectURL(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }));
}

async function notesOn(file, bitmap) {
  const bytes = new Uint8Array(await file.arrayBuffer()), notes = [];
  if (await isAnimated(bytes, file.type)) notes.push(`${file.name} is an animation: its first frame is used.`);
  if (jpegComponents(bytes) === 4) notes.push(`${file.name} is in CMYK: the browser made RGB of it, and its colours may differ from those that dvt reads.`);
  if (Math.min(bitmap.width, bitmap.height) < 32) notes.push(`${file.name} has only ${bitmap.width} × ${bitmap.height} pixels: it is enlarged, and there is little to see.`);
  return notes;
}

/** Whether there is more than one frame; unknown, and false, in browsers without ImageDecoder. */
async function isAnimated(bytes, type) {
  if (!globalThis.ImageDecoder || !(await ImageDecoder.isTypeSupported(type))) return false;
  const decoder = new ImageDecoder({ data: bytes, type });
  try {
    await decoder.tracks.ready;
    return decoder.tracks.selectedTrack.animated;
  } catch {
    return false; // decoded all the same: nothing to add
  } finally {
    decoder.close();
  }
}

/** Number of colour components of a JPEG, from its frame header; 0 for other files. */
function jpegComponents(bytes) {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return 0;
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return bytes[at + 9];
    at += 2 + 256 * bytes[at + 2] + bytes[at + 3];
  }
  return 0;
}
