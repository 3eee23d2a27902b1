"""Flows: one user journey each, a request or several, with checks on what comes back.

The shape, in a scenario's `flows:`, in a file under `workflows/flows/`, or as a plain mapping from an entry point of the group
`gates.flows` (the object is a mapping from flow name to such a definition, or a function without arguments that returns one)::

    submit_job:
      summary: A client submits a mesh job.         # optional
      endpoint: any                                 # optional; `any` goes round all endpoints, else the name of one
      variables: {account: did:key:alice}           # optional constants, text or numbers
      value: {cost_mana: 10}                        # optional, small JSON: recorded as Operation.value (variables are filled in)
      steps:                                        # one or more, in order, over one connection to one endpoint
        - method: POST                              # GET (default), POST, PUT, PATCH, DELETE, OPTIONS
          path: /mesh/submit                        # starts with a slash; variables are filled in
          headers: {Idempotency-Key: "{key}"}       # optional
          body: {manifest_cid: "cid-{n}", spec_json: {kind: Echo, payload: "{uuid}"}, cost_mana: 10}
                                                    # optional; a text is sent as it is, anything else as JSON
          capture: {job_id: job_id}                 # optional; name: dotted path (`jobs.0.id`), JSON pointer (`/jobs/0/id`)
                                                    # or `header:NAME`; a capture that is not there is a wrong body
          check:                                    # optional; without it any 2xx is right
            status: [200, 202]                      # one or several; default any 2xx
            json: {job_id: {type: string, matches: "^job-"}}
                                                    # path: value that it must equal, or some of equals, exists, type, matches,
                                                    # one_of, at_least, at_most
            body_contains: job_id                   # a text, or a list of texts
            headers: {Content-Type: {matches: json}}

`{name}` in path, headers, body, value and expected values is filled in; `{{name}}` stands for a literal `{name}`; a brace that does
not enclose a bare name is itself, so JSON texts need no escapes. Known names:

    {n}         number of the arrival in the schedule, from 0
    {key}       an idempotency key: unique for each arrival, the same for all steps of it, derived from the seed
    {uuid}      a UUID, unique for each arrival, derived from the seed
    {endpoint}  name of the endpoint that serves this arrival
    and the flow's constants, and what earlier steps captured. Any other name is an error at its line.

A flow's latency runs from its *intended* start to the end of its last step. Every response is checked; what fails a check counts as
an error of class `status`, `header` or `body`. For a recorded history a flow is one `model.Operation`: kind is the flow's name,
`key` is `{key}`, `value` as above and `answer` the mapping of all that was captured; status is `ok` when every check held, `fail`
when surely nothing was done (never sent, or refused by 4xx, 501 or 503 in its first step), else `unknown`.
"""
