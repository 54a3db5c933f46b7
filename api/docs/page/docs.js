"use strict";

/** Requests go where the page came from, and nowhere else. */
function serveFromHere(contract) {
  contract.servers = [{ url: new URL(".", document.baseURI).href.replace(/\/$/, "") }];
}

/** What may be left out is left out until somebody fills it in: Swagger UI would send the examples. */
function emptyOptionalParameters(contract) {
  const operations = Object.values(contract.paths).flatMap((item) => Object.values(item));
  for (const parameter of operations.flatMap((operation) => operation.parameters ?? [])) {
    if (!parameter.required && "example" in parameter) {
      parameter.description += ` For example \`${parameter.example}\`.`;
      delete parameter.example;
    }
  }
}

async function show() {
  const answer = await fetch("openapi.json");
  const contract = await answer.json();
  serveFromHere(contract);
  emptyOptionalParameters(contract);
  SwaggerUIBundle({ spec: contract, dom_id: "#contract", deepLinking: true, validatorUrl: null });
}

show();
