// Codes out of pictures, and pictures out of codes. Nothing here knows the page's elements.

const ID = 0, OOD = 1, VOID = 2;
/** What a pixel is at a threshold; also the order of `PAINT`. */
const HIT = 1, FALSE_ALARM = 2, MISSED = 3, FLAGGED_VOID = 4;
/** Okabe and Ito's colours, each with a hatching of its own: [colour, colour of the hatching, which pixels it takes]. */
const PAINT = [
  null,
  [[0, 158, 115], [0, 158, 115], () => false],
  [[213, 94, 0], [90, 30, 0], (x, y) => (x + y) % 5 === 0],
  [[86, 180, 233], [0, 60, 110], (x, y) => x % 4 === 0 && y % 4 === 0],
  [[153, 153, 153], [153, 153, 153], () => false],
];

/** @param {Uint8Array} codes */
const adler32 = (codes) => {
  let low = 1, high = 0;
  for (const code of codes) high = (high + (low = (low + code) % 65521)) % 65521;
  return high * 65536 + low;
};

/**
 * The codes of a lossless picture, row by row; null where the browser gives others than were written, as some do against
 * fingerprinting.
 * @param {[string, number]} map  data URI, checksum @param {number} width @param {number} height @returns {Promise<Uint8Array | null>}
 */
const readCodes = async ([source, checksum], width, height) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const codes = new Uint8Array(width * height);
  for (let place = 0; place < codes.length; place++) codes[place] = pixels[4 * place];
  return adler32(codes) === checksum ? codes : null;
};

/**
 * What every pixel is at a level, and how many of each there are.
 * @param {Uint8Array} codes @param {Uint8Array} label @param {number} level
 */
const judge = (codes, label, level) => {
  const kinds = new Uint8Array(codes.length);
  const counts = { id: 0, ood: 0, hit: 0, falseAlarm: 0, missed: 0, flagged: 0 };
  for (let place = 0; place < codes.length; place++) {
    const flagged = codes[place] >= level;
    if (flagged) counts.flagged++;
    if (label[place] === OOD) {
      counts.ood++;
      if (flagged) counts.hit++;
      kinds[place] = flagged ? HIT : MISSED;
    } else if (label[place] === ID) {
      counts.id++;
      if (flagged) (kinds[place] = FALSE_ALARM), counts.falseAlarm++;
    } else if (flagged) kinds[place] = FLAGGED_VOID;
  }
  counts.missed = counts.ood - counts.hit;
  return { kinds, counts };
};

/** @param {HTMLCanvasElement} canvas @param {number} width @param {number} height @param {(x: number, y: number, place: number) => number[] | null} colour */
const paint = (canvas, width, height, colour) => {
  [canvas.width, canvas.height] = [width, height];
  const picture = new ImageData(width, height);
  for (let y = 0, place = 0; y < height; y++) {
    for (let x = 0; x < width; x++, place++) {
      const found = colour(x, y, place);
      if (!found) continue;
      picture.data.set(found, 4 * place);
      picture.data[4 * place + 3] = found.length > 3 ? found[3] : 255;
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
};

/** @param {HTMLCanvasElement} canvas @param {number} width @param {number} height @param {Uint8Array} kinds */
const paintMask = (canvas, width, height, kinds) =>
  paint(canvas, width, height, (x, y, place) => {
    const found = PAINT[kinds[place]];
    return found && (found[2](x, y) ? found[1] : found[0]);
  });

/** Pixels that the outline is drawn with, about: finer than a small map's own, so that it hides no small object. */
const RIM_WIDTH = 1000;

/**
 * White inside the edge of OOD, black outside: seen on any ground. Void is darkened.
 * @param {HTMLCanvasElement} canvas @param {number} width @param {number} height @param {Uint8Array} label
 */
const paintRim = (canvas, width, height, label) => {
  const fine = Math.max(1, Math.round(RIM_WIDTH / width));
  const at = (x, y) => label[Math.floor(y / fine) * width + Math.floor(x / fine)];
  const [wide, high] = [width * fine, height * fine];
  paint(canvas, wide, high, (x, y) => {
    const kind = at(x, y), ood = kind === OOD;
    const differs = (i, j) => i >= 0 && j >= 0 && i < wide && j < high && (at(i, j) === OOD) !== ood;
    if (differs(x - 1, y) || differs(x + 1, y) || differs(x, y - 1) || differs(x, y + 1)) return ood ? [255, 255, 255] : [0, 0, 0];
    return kind === VOID ? [0, 0, 0, 120] : null;
  });
};
