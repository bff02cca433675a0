// A page as a site would have it: a search box, facets, a range, sorting and pages over one index.

import { instantMeiliSearch } from "@meilisearch/instant-meilisearch";
import instantsearch from "instantsearch.js";
import {
  configure,
  hits,
  pagination,
  rangeInput,
  refinementList,
  searchBox,
  sortBy,
  stats,
} from "instantsearch.js/es/widgets";

const parameters = new URLSearchParams(location.search);
const index = parameters.get("index");
const { searchClient } = instantMeiliSearch(parameters.get("url"), parameters.get("key"), {
  // Counts every hit, which Meilisearch does when it is asked for pages.
  finitePagination: parameters.has("finite"),
});

const search = instantsearch({ indexName: index, searchClient });

search.addWidgets([
  configure({ hitsPerPage: 6 }),
  searchBox({ container: "#searchbox" }),
  sortBy({
    container: "#sort",
    items: [
      { label: "Relevance", value: index },
      { label: "Oldest first", value: `${index}:year:asc` },
      { label: "Best first", value: `${index}:rating:desc` },
    ],
  }),
  stats({ container: "#stats" }),
  refinementList({ container: "#genres", attribute: "genres", limit: 20 }),
  rangeInput({ container: "#years", attribute: "year" }),
  hits({
    container: "#hits",
    templates: {
      item: (hit, { html, components }) =>
        html`<span class="title" data-id="${hit.id}">${components.Highlight({ hit, attribute: "title" })}</span>`,
    },
  }),
  pagination({ container: "#pagination" }),
]);

search.start();
