-- What a topic has found.
\pset footer off
\pset null ''

select case when lag(work) over by_work is distinct from work then work else '' end as work,
       case when lag(work) over by_work is distinct from work then "pg_encrypt ns" end as "pg_encrypt ns",
       peer, "peer ns", ratio, goal, case when ok then 'yes' when not ok then 'NO' end as ok
from bench.report
window by_work as (order by work_ord, peer_ord)
order by work_ord, peer_ord;

select fact, round(measured, 1) as measured, unit, at_most as "at most",
       case when measured <= at_most then 'yes' else 'NO' end as ok
from bench.facts
order by ord;
