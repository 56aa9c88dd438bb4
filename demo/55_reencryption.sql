-- RE-ENCRYPTION AS A JOB
--
-- Columns of type encrypt.ciphertext are registered once, with what their values are bound to. Then nobody writes UPDATEs:

select encrypt.register_column('customers', 'email', 'email_index', key => 'pii', context => 'customers.email',
                               row_id_column => 'id') is not null as email,
       encrypt.register_column('customers', 'ssn', key => 'pii', context => 'customers.ssn', row_id_column => 'id') is not null as ssn;

-- A version is found out to be known to others. It is replaced at once; what is stored under it is counted:

select encrypt.mark_compromised(key_id) from encrypt.keys where name = 'pii' and purpose = 'column' and state = 'active';

select version, state, relation, "column", "values" from encrypt.key_usage('pii') where purpose = 'column' and "values" > 0;

-- A job moves the values, in batches of short transactions, in two background workers, while the application goes on. It works
-- as the table's owner, who needs no grant for the key and can't decrypt by way of the job.

select encrypt.start_reencryption('pii') as job \gset
select encrypt.start_workers(:job, 2) as workers;

select pg_sleep(1);
select j.state, j.round, coalesce(sum(c.counts[1]), 0) as rows_of_this_round
from encrypt.jobs j left join encrypt.job_chunks c using (job_id) where job_id = :job group by j.job_id;

-- The same job can be worked on here as well; this returns when it is finished.

call encrypt.run_job(:job);

select version, state, relation, "column", "values" from encrypt.key_usage('pii') where purpose = 'column';

select encrypt.retire_key(key_id) from encrypt.keys where name = 'pii' and purpose = 'column' and state = 'rotating';
